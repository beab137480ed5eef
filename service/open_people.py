"""Opens what forgets people, with its background tasks, from the parts of a running service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from index.registry import Registry
from service.background import Work, supervised
from service.events.intake import EventIntake
from service.live import LiveUpdates
from service.people.forgetting import JOURNAL, Forgetting
from service.people.journal import Journal
from service.retrain.open_retraining import FOLDER
from service.retrain.retraining import Retraining
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.vector_cache import VectorCache


@asynccontextmanager
async def open_people(
    settings: Settings,
    metrics: Metrics,
    *,
    feedback: EventIntake,
    live: LiveUpdates,
    cache: VectorCache | None,
    registry: Registry,
    retraining: Retraining | None,
) -> AsyncIterator[Forgetting]:
    """What forgets people; it ends what an earlier process began, and cleans the archive after other replicas."""
    folder = settings.data_folder.absolute()
    people = Forgetting(
        log=feedback.log,
        forgotten=live.forgotten,
        leave_out=live.forget,
        drop_cached=live.drop_cached,
        vectors=cache,
        namespace=settings.namespace,
        registry=registry,
        retraining=retraining,
        trainings=folder / FOLDER,
        journal=Journal(folder / JOURNAL),
        metrics=metrics,
        clock=live.now,
    )
    work: dict[str, Work] = {"forgetting": people.run}
    if live.pubsub is not None:
        live.on_forgotten.append(lambda _: people.changed.set())
        work["archive_cleaning"] = people.clean_archive
    try:
        async with supervised(metrics, work):
            yield people
    finally:
        await people.close()
