"""The retraining hook as the settings ask for it, opened with the service and closed with it."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from index.registry import Registry
from service.errors import ServiceError
from service.events.log import EventLog
from service.redis.client import connect
from service.retrain.control import Control
from service.retrain.hook import Retraining
from service.retrain.launcher import Launcher
from service.retrain.process import ProcessLauncher
from service.retrain.redis_control import RedisControl
from service.retrain.sqlite_control import SqliteControl
from service.retrain.supervisor import Supervisor
from service.retrain.triggers import Triggers
from service.retrain.work import Judge, Places, Work
from service.settings import Settings
from service.telemetry.metrics import Metrics

FILE = "control.sqlite"
OWN_TRAINER = (sys.executable, "-m", "trainer")


@asynccontextmanager
async def open_retraining(
    settings: Settings,
    registry: Registry,
    metrics: Metrics,
    events: EventLog,
    judge: Judge,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Retraining | None]:
    """The hook with its background task; None where no data to train on are named."""
    if settings.retrain_data is None:
        yield None
        return
    metrics.retrain_configured.set(1)
    places = Places(
        data=settings.retrain_data.absolute(),
        registry=registry,
        folder=settings.data_folder.absolute() / "retrain",
    )
    control, launcher = open_control(settings, clock), open_launcher(settings, clock)
    secret = settings.retrain_webhook_secret
    retraining = Retraining(
        control=control,
        launcher=launcher,
        events=events,
        places=places,
        clock=clock,
        wake=asyncio.Event(),
        arguments=tuple(shlex.split(settings.retrain_arguments)),
        warm_start=settings.retrain_warm_start,
        secret=None if secret is None else secret.get_secret_value(),
    )
    task = asyncio.create_task(_supervisor(settings, metrics, retraining, judge).run())
    try:
        yield retraining
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await launcher.close()
        with suppress(ServiceError):
            await control.close()


def _supervisor(settings: Settings, metrics: Metrics, retraining: Retraining, judge: Judge) -> Supervisor:
    def work(token: int) -> Work:
        return Work(
            control=retraining.control,
            token=token,
            launcher=retraining.launcher,
            events=retraining.events,
            places=retraining.places,
            judge=judge,
            clock=retraining.clock,
            poll_s=settings.retrain_poll_s,
            timeout_s=settings.retrain_timeout_s,
        )

    return Supervisor(
        control=retraining.control,
        make_work=work,
        submit=retraining.trigger,
        count_new=retraining.count_new,
        triggers=Triggers(settings.retrain_after_events, settings.retrain_schedule),
        metrics=metrics,
        clock=retraining.clock,
        places=retraining.places,
        lease_s=settings.retrain_lease_s,
        poll_s=settings.retrain_poll_s,
        keep=settings.retrain_keep,
        wake=retraining.wake,
    )


def open_control(settings: Settings, clock: Callable[[], float]) -> Control:
    """Where the event log is: in Redis if several replicas share it, else in a file."""
    if settings.event_log != "redis" or settings.redis_url is None:
        return SqliteControl(settings.data_folder / FILE, clock)
    return RedisControl(connect(settings.redis_url.get_secret_value()), settings.namespace)


def open_launcher(settings: Settings, clock: Callable[[], float]) -> Launcher:
    """The one that the settings name."""
    # What each needs takes long to import.
    if settings.retrain_launcher == "webhook":
        from service.retrain.webhook import WebhookLauncher  # noqa: PLC0415

        assert settings.retrain_webhook_url is not None  # the settings checked that
        assert settings.retrain_webhook_secret is not None
        secret = settings.retrain_webhook_secret.get_secret_value()
        return WebhookLauncher(settings.retrain_webhook_url, secret, clock=clock)
    if settings.retrain_launcher == "kubernetes":
        from service.retrain.kubernetes import KubernetesLauncher  # noqa: PLC0415

        assert settings.retrain_kubernetes_cronjob is not None
        return KubernetesLauncher(
            settings.retrain_kubernetes_namespace,
            settings.retrain_kubernetes_cronjob,
            config_file=settings.retrain_kubernetes_config,
        )
    command = shlex.split(settings.retrain_command) if settings.retrain_command else OWN_TRAINER
    return ProcessLauncher(command, niceness=settings.retrain_niceness, environment=os.environ)
