"""Opens what lists are made from as a service would: bundle, event log, hidden items, rules; and serves nobody."""

import random
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from index.bundle import Bundle
from index.errors import InputError
from service.bundles.living_catalogue import LivingCatalogue
from service.bundles.loaded import LoadedBundle
from service.bundles.loader import BundleLoader
from service.bundles.warmup import RecentRequests
from service.events.log import EventLog, LogUnavailable
from service.events.open_log import open_intake
from service.items.item import ItemChange
from service.items.open_store import open_store
from service.items.store import ItemsUnavailable
from service.live import open_live
from service.ranking.recall_sampling import RecallSampler
from service.ranking.rules_file import RulesFile
from service.settings import Settings
from service.telemetry.metrics import Metrics

EVENTS_AT_ONCE = 10_000
ITEMS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Opened:
    """A loaded bundle with the state that changes between trainings."""

    loaded: LoadedBundle
    items: Sequence[ItemChange]  # the stored items in it
    rules: RulesFile
    log: EventLog
    hidden: str  # how current the hidden items are known, as /readyz tells


@asynccontextmanager
async def opened_lists(
    settings: Settings, bundle: Bundle, items: Sequence[ItemChange] | None = None
) -> AsyncIterator[Opened]:
    """Everything opened for this bundle, with the stored items, searched on the CPU.

    `items` are the stored ones, as another process of the run has read them; without, they are read. New items without
    features are in no list. InputError where hidden items are unknown, or stored ones cannot be read.
    """
    metrics, rng = Metrics(), random.Random(0)
    settings = settings.model_copy(update={"milvus_uri": None, "gpu": "off", "recall_sample": 0})
    async with (
        open_intake(settings, metrics) as feedback,
        open_live(settings, metrics, feedback, lambda: None) as live,
    ):
        if items is None:
            items = await _stored_items(settings, metrics)
        if live.hidden.state == "unknown":
            raise InputError("the hidden items are unknown: Redis, which shares them, cannot be reached")
        rules = RulesFile(settings.rules_file, metrics, on_change=lambda: None)
        sampler = RecallSampler(0, metrics, rng)
        lookup_for = partial(live.lookup_for, cache=None)
        catalogue = LivingCatalogue(
            metrics, attach=live.attach, detach=live.detach, on_change=lambda: None, store=_Read(items)
        )
        loader = BundleLoader(settings, metrics, lookup_for, live.attach, catalogue, rules, RecentRequests(0), sampler)
        yield Opened(await loader.load(bundle), items, rules, feedback.log, live.hidden.state)


@dataclass(frozen=True)
class _Read:
    """Stored items as they were read once, since they may change while lists are made."""

    items: Sequence[ItemChange]

    async def changes(self, after: int, limit: int) -> Sequence[ItemChange]:
        """As of the store."""
        start = bisect_right(self.items, after, key=lambda one: one.position)
        return self.items[start : start + limit]


async def _stored_items(settings: Settings, metrics: Metrics) -> list[ItemChange]:
    found: list[ItemChange] = []
    try:
        async with open_store(settings, metrics) as store:
            while page := await store.changes(found[-1].position if found else 0, ITEMS_AT_ONCE):
                found += page
    except ItemsUnavailable as error:
        raise InputError(error.detail) from error
    return found


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
