"""Opens what lists are made from as a service would: bundle, stored items, event log, hidden items, rules."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from index.errors import InputError
from service.bundles.living_catalogue import LivingCatalogue
from service.bundles.loaded import LoadedBundle
from service.bundles.loader import BundleLoader
from service.bundles.open_published import OpenedBundle
from service.bundles.warmup import RecentRequests
from service.encoding.encoder import encoder_of
from service.encoding.encoding import open_encoding
from service.events.log import EventLog, LogUnavailable
from service.events.open_log import open_intake
from service.items.open_store import open_store
from service.live import open_live
from service.ranking.recall_sampling import RecallSampler
from service.ranking.rules_file import RulesFile
from service.settings import Settings
from service.telemetry.metrics import Metrics

EVENTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Opened:
    """A loaded bundle with the items stored since, and the state that changes between trainings."""

    loaded: LoadedBundle
    rules: RulesFile
    log: EventLog
    hidden: str  # how current the hidden items are known, as /readyz tells
    forgotten: frozenset[str]  # receipts of the people who were forgotten


@asynccontextmanager
async def opened_lists(settings: Settings, opened: OpenedBundle) -> AsyncIterator[Opened]:
    """Everything opened for this bundle, which is searched on the CPU.

    InputError where hidden items are unknown, or the stored items cannot be read.
    """
    metrics, rng = Metrics(), random.Random(0)
    settings = settings.model_copy(update={"milvus_uri": None, "gpu": "off", "recall_sample": 0})
    async with (
        open_intake(settings, metrics) as feedback,
        open_live(settings, metrics, feedback, lambda: None) as live,
        open_store(settings, metrics) as items,
        open_encoding(settings, settings.images, opened.registry, metrics) as encoding,
    ):
        if "unknown" in (live.hidden.state, live.forgotten.state):
            raise InputError(
                "the hidden items are unknown, or who was forgotten: Redis, which shares both, is unavailable"
            )
        rules = RulesFile(settings.rules_file, metrics, on_change=lambda: None)
        sampler = RecallSampler(0, metrics, rng)
        lookup_for = partial(live.lookup_for, cache=None)
        catalogue = LivingCatalogue(
            metrics,
            attach=live.attach,
            detach=live.detach,
            on_change=lambda: None,
            store=items,
            encoder_for=partial(encoder_of, encoding),
        )
        loader = BundleLoader(settings, metrics, lookup_for, live.attach, catalogue, rules, RecentRequests(0), sampler)
        loaded = await loader.load(opened.bundle, required=True)
        yield Opened(loaded, rules, feedback.log, live.hidden.state, live.forgotten.people.receipts)


async def users_with_events(log: EventLog) -> frozenset[str]:
    """The users whom the log names; InputError where it cannot be read."""
    users: set[str] = set()
    after = 0
    try:
        while entries := await log.read(after, EVENTS_AT_ONCE):
            users.update(event.user_id for _, event in entries if event is not None)
            after = entries[-1][0]
    except LogUnavailable as error:
        raise InputError(error.detail) from error
    return frozenset(users)
