"""Loads an open bundle: builds its search and rankers, and warms it up before it replaces the bundle that serves."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from index.bundle import Bundle
from index.errors import InputError
from index.paging import page_in
from service.bundles.living_catalogue import LivingCatalogue
from service.bundles.loaded import LoadedBundle, load_bundle
from service.bundles.warmup import RecentRequests, RecordedRequest, WarmUpResult, warm_up
from service.ranking.chosen_search import require_index
from service.ranking.recall_sampling import RecallSampler
from service.ranking.rules_file import RulesFile
from service.settings import MEGABYTE, Settings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup


@dataclass(frozen=True)
class BundleLoader:
    """Builds loaded bundles with this process's settings, metrics, user lookups, hidden items and rules."""

    settings: Settings
    metrics: Metrics
    lookup_for: Callable[[Bundle], UserLookup]
    attach: Callable[[LoadedBundle], None]  # hides the hidden items in it, now and when they change
    catalogue: LivingCatalogue
    rules: RulesFile
    recent: RecentRequests
    sampler: RecallSampler

    async def load(
        self, bundle: Bundle, *, required: bool = False, shared_with: Sequence[LoadedBundle] = ()
    ) -> LoadedBundle:
        """The loaded bundle with the stored items, not warmed up; shared_with as for `load_bundle`.

        InputError where the rules file names an attribute that it lacks, or the items are `required` and unreadable.
        """
        users, encoder = self.lookup_for(bundle), self.catalogue.encoder_for(bundle)
        encodes = () if encoder is None else tuple(bundle.manifest.encoders)
        loaded = await asyncio.to_thread(
            load_bundle,
            bundle,
            users,
            self.settings,
            self.metrics,
            self.sampler,
            encodes=encodes,
            shared_with=shared_with,
        )
        self.attach(loaded)
        loaded = await self.catalogue.catch_up(loaded, encoder, required=required)
        await self.rules.constraints(loaded.bundle, loaded.facet_store)
        return loaded

    async def load_warm(self, bundle: Bundle, *, shared_with: Sequence[LoadedBundle] = ()) -> LoadedBundle:
        """The loaded bundle, read into memory and warmed up with recent requests; InputError if they fail or lag.

        shared_with: as for `load_bundle`.
        """
        await require_index(self.settings, bundle)
        loaded = await self.load(bundle, required=True, shared_with=shared_with)
        result = await self.warm_up(loaded, self.recent.sample())
        if reason := result.refusal_reason(self.settings.warm_up_p99_ms):
            raise InputError(reason)
        return loaded

    async def warm_up(self, loaded: LoadedBundle, requests: Sequence[RecordedRequest]) -> WarmUpResult:
        """Read the bundle into memory, build what its requests search, and replay these requests."""
        if loaded.device != "milvus":  # there may be no memory for spaces that no request needs
            await loaded.similar_items.build()
        if loaded.bundle.mapped:
            await asyncio.to_thread(page_in, loaded.bundle, self.settings.warm_up_mb * MEGABYTE)
        result = await warm_up(loaded, requests, time.perf_counter)
        if requests:
            loaded.facet_store.begin()  # of a large bundle: no request waited for them, but one will
        return result
