"""Builds retraining from the settings: job store, launcher, supervisor. Opened and closed with the service."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module

from index.errors import InputError
from index.extras import missing_package
from index.registry import Registry
from service.background import supervised
from service.errors import ServiceError
from service.events.kinds import trainer_arguments
from service.events.log import EventLog
from service.items.store import ItemStore
from service.redis.client import connect
from service.retrain.item_pictures import ItemPictures
from service.retrain.job_runner import ArmPublisher, JobRunner, RetrainPaths, RunGate
from service.retrain.job_store import JobStore, OnUnreadable
from service.retrain.launcher import Launcher
from service.retrain.process_launcher import ProcessLauncher
from service.retrain.redis_job_store import RedisJobStore
from service.retrain.retraining import Retraining
from service.retrain.sqlite_job_store import SqliteJobStore
from service.retrain.supervisor import Supervisor
from service.retrain.triggers import Triggers
from service.settings import RetrainSettings
from service.telemetry.metrics import RetrainMetrics

CONTROL_FILE = "control.sqlite"
FOLDER = "retrain"  # in the data folder
OWN_TRAINER = (sys.executable, "-m", "trainer")


@asynccontextmanager
async def open_retraining(
    settings: RetrainSettings,
    registry: Registry,
    metrics: RetrainMetrics,
    events: EventLog,
    run_gate: RunGate,
    *,
    arms: ArmPublisher,
    items: ItemStore | None = None,
    pictures: ItemPictures | None = None,
    clock: Callable[[], float] = time.time,
    forgotten: Callable[[], Collection[str]] = tuple,
) -> AsyncIterator[Retraining | None]:
    """Retraining with its background task; None where no training data is configured."""
    if settings.retrain_data is None:
        yield None
        return
    metrics.retrain_configured.set(1)
    paths = RetrainPaths(
        data=settings.retrain_data.absolute(),
        registry=registry,
        folder=settings.data_folder.absolute() / FOLDER,
    )
    store = open_job_store(settings, clock, partial(metrics.unreadable.skip, "jobs"))
    launcher = open_launcher(settings, clock)
    secret = settings.retrain_webhook_secret if settings.retrain_launcher == "webhook" else None
    folder = pictures.arguments if pictures else []
    retraining = Retraining(
        store=store,
        launcher=launcher,
        events=events,
        paths=paths,
        clock=clock,
        wake=asyncio.Event(),
        arguments=(*trainer_arguments(settings), *folder, *shlex.split(settings.retrain_arguments)),
        warm_start=settings.retrain_warm_start,
        secret=None if secret is None else secret.get_secret_value(),
        arms=arms,
        default_arm=settings.retrain_arm,
    )
    supervisor = _make_supervisor(
        settings, metrics, retraining, run_gate, items=items, pictures=pictures, forgotten=forgotten
    )
    try:
        async with supervised(metrics, {"retraining": supervisor.run}):
            yield retraining
    finally:
        await launcher.close()
        with suppress(ServiceError):
            await store.close()


def _make_supervisor(
    settings: RetrainSettings,
    metrics: RetrainMetrics,
    retraining: Retraining,
    run_gate: RunGate,
    *,
    items: ItemStore | None,
    pictures: ItemPictures | None,
    forgotten: Callable[[], Collection[str]],
) -> Supervisor:
    def make_runner(token: int) -> JobRunner:
        return JobRunner(
            store=retraining.store,
            token=token,
            launcher=retraining.launcher,
            events=retraining.events,
            items=items,
            pictures=pictures,
            paths=retraining.paths,
            run_gate=run_gate,
            arms=retraining.arms,
            clock=retraining.clock,
            poll_s=settings.retrain_poll_s,
            timeout_s=settings.retrain_timeout_s,
            forgotten=forgotten,
        )

    return Supervisor(
        store=retraining.store,
        make_runner=make_runner,
        submit=retraining.submit_automatically,
        count_new_events=retraining.count_new_events,
        arm_problem=retraining.arm_problem,
        triggers=Triggers(settings.retrain_after_events, settings.retrain_schedule),
        metrics=metrics,
        clock=retraining.clock,
        paths=retraining.paths,
        lease_s=settings.retrain_lease_s,
        poll_s=settings.retrain_poll_s,
        keep=settings.retrain_keep,
        wake=retraining.wake,
    )


def open_job_store(settings: RetrainSettings, clock: Callable[[], float], on_unreadable: OnUnreadable) -> JobStore:
    """The job store beside the event log: in Redis where several replicas share it, else in a file."""
    if settings.event_log != "redis" or settings.redis_url is None:
        return SqliteJobStore(settings.data_folder / CONTROL_FILE, clock, on_unreadable)
    return RedisJobStore(connect(settings.redis_url.get_secret_value()), settings.namespace, on_unreadable)


def check_launcher(settings: RetrainSettings) -> None:
    """Before anything is opened: InputError where the configured launcher's library is not installed."""
    if settings.retrain_launcher == "kubernetes":
        try:
            import_module("service.retrain.kubernetes_launcher")
        except ImportError as error:
            raise InputError(missing_package(error, "RECO_RETRAIN_LAUNCHER=kubernetes") or str(error)) from error


def open_launcher(settings: RetrainSettings, clock: Callable[[], float]) -> Launcher:
    """The launcher that the settings name."""
    # The imports take long, and most services need neither.
    if settings.retrain_launcher == "webhook":
        from service.retrain.webhook_launcher import WebhookLauncher  # noqa: PLC0415

        assert settings.retrain_webhook_url is not None  # the settings checked that
        assert settings.retrain_webhook_secret is not None
        secret = settings.retrain_webhook_secret.get_secret_value()
        return WebhookLauncher(settings.retrain_webhook_url, secret, clock=clock)
    if settings.retrain_launcher == "kubernetes":
        from service.retrain.kubernetes_launcher import KubernetesLauncher  # noqa: PLC0415

        assert settings.retrain_kubernetes_cronjob is not None
        return KubernetesLauncher(
            settings.retrain_kubernetes_namespace,
            settings.retrain_kubernetes_cronjob,
            config_file=settings.retrain_kubernetes_config,
        )
    command = shlex.split(settings.retrain_command) if settings.retrain_command else OWN_TRAINER
    return ProcessLauncher(command, niceness=settings.retrain_niceness, environment=os.environ)
