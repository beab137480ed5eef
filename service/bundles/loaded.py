"""A loaded bundle: everything that answers from one bundle, closed automatically after its last request.

Its living items change while it serves: each change makes another loaded bundle that shares what stayed the same. What
was opened for the bundle is closed when the last of them goes.
"""

import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.recommending.profile import NO_ROWS
from service.bundles.traffic import Traffic
from service.catalogue.catalogue_map import CatalogueMap
from service.catalogue.living_search import LivingSearch
from service.catalogue.living_similar import LivingSimilarItems
from service.catalogue.living_state import LivingState
from service.items.image_urls import image_urls
from service.ranking.chosen_search import open_chosen_search
from service.ranking.facets import FacetStore
from service.ranking.item_metadata import ItemMetadata
from service.ranking.ranker import Ranker
from service.ranking.recall_sampling import RecallSampler
from service.ranking.recommender import BundleRecommender
from service.ranking.search import ItemSearch
from service.ranking.similar import SimilarItems
from service.settings import RankingSettings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup

Array = np.ndarray[Any, Any]

GRACE_S = 0.05  # from the last reference to the bundle until it closes: others may still use a part of it


class Lifetime:
    """Ends with the last loaded bundle of one open bundle."""


@dataclass(frozen=True, eq=False)
class TrainedParts:
    """What shows the items that a bundle was written with; all states of its living items share it."""

    search: ItemSearch
    similar_items: SimilarItems
    map: CatalogueMap | None  # None: the bundle has none


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """The parts that answer requests from one bundle. A request uses one loaded bundle from beginning to end.

    No part may refer back to it: it is closed when its last reference goes, without garbage collection.
    """

    bundle: Bundle
    items: ItemMetadata
    users: UserLookup
    recommender: BundleRecommender
    similar_items: SimilarItems
    facet_store: FacetStore
    ranker: Ranker
    device: str  # cpu, gpu or milvus
    trained: TrainedParts  # of the bundle as it was written
    living: LivingState  # the items that came or changed since
    closed: Array  # ascending rows of living items that no list may show
    lifetime: Lifetime  # of what was opened for the bundle
    traffic: Traffic = field(default_factory=Traffic)  # its answers while it serves

    @property
    def hidden(self) -> Array:
        """The rows of hidden items, ascending."""
        return self.recommender.hidden

    def hide(self, rows: Array) -> None:
        """Hide exactly these item rows, and closed ones, from every list. The caller must clear the response cache."""
        hidden = np.union1d(rows, self.closed).astype(np.int64)
        self.recommender.hide(hidden)
        self.similar_items.hide(hidden)

    def refreshed(self) -> "LoadedBundle":
        """The same bundle with its living items as they are now; the caller must `hide` what is hidden in it.

        This one answers on as before, but no row may be hidden in it any more: both share one search.
        """
        living = self.living.snapshot()
        bundle, search = living.bundle, LivingSearch(self.trained.search, living.n_trained, living.delta())
        items = self.items.over(bundle, living.records)
        recommender = self.recommender.over(bundle, items, search)
        similar_items = LivingSimilarItems(self.trained.similar_items, living)
        facet_store = self.facet_store.with_items(len(bundle.items), living.changed_records)
        ranker = self.ranker.over(recommender.scoring, recommender.by_popularity, search, similar_items, facet_store)
        return replace(
            self,
            bundle=bundle,
            items=items,
            users=self.users.over(bundle, living.changed_ids),
            recommender=recommender,
            similar_items=similar_items,
            facet_store=facet_store,
            ranker=ranker,
            closed=living.closed,
        )


def load_bundle(
    bundle: Bundle,
    users: UserLookup,
    settings: RankingSettings,
    metrics: Metrics,
    sampler: RecallSampler | None = None,
    *,
    encodes: Collection[str] = (),
    shared_with: Sequence[LoadedBundle] = (),
) -> LoadedBundle:
    """Build the parts. This reads much of the bundle, so run it in a thread while requests are answered.

    encodes: the modalities that an encoder makes features of, for items that have none. shared_with: loaded bundles of
    the same settings; what they built of the very arrays that this bundle shares with them is built once.
    """
    search, device, close = open_chosen_search(settings, metrics, bundle, sampler)
    urls = image_urls(settings.images)
    items = ItemMetadata(bundle, settings.item_cache, urls, [one.items for one in shared_with])
    similar_items = SimilarItems(bundle, [one.trained.similar_items for one in shared_with])
    facet_store = FacetStore(bundle, [one.facet_store for one in shared_with])
    recommender = BundleRecommender(bundle, items, search)
    ranker = Ranker(
        recommender.scoring, recommender.by_popularity, search, similar_items, facet_store, pool=settings.diversity_pool
    )
    loaded = LoadedBundle(
        bundle,
        items,
        users,
        recommender,
        similar_items,
        facet_store,
        ranker,
        device,
        trained=TrainedParts(search, similar_items, None if bundle.map is None else CatalogueMap(bundle, bundle.map)),
        living=LivingState(bundle, encodes, settings.new_item_weight),
        closed=NO_ROWS,
        lifetime=Lifetime(),
    )
    metrics.bundles_open.inc()
    _close_after_last_reference(loaded, close, metrics.bundles_open.dec)
    return loaded


def _close_after_last_reference(loaded: LoadedBundle, *steps: Callable[[], None]) -> None:
    """Close after the last loaded bundle of this one's lifetime."""
    parts = [part for part in vars(loaded).values() if part is not loaded.lifetime]
    # At the end of the process nothing needs to be closed, and no thread can be started.
    weakref.finalize(loaded.lifetime, _close_in_thread, parts, steps).atexit = False


def _close_in_thread(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    """Runs where the last reference went, mostly in the event loop, which unmapping gigabytes would block."""
    threading.Thread(target=_close, args=(parts, steps), name="bundle-close", daemon=True).start()


def _close(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    time.sleep(GRACE_S)
    with ExitStack() as stack:  # a step that fails skips no other
        stack.callback(parts.clear)
        for step in reversed(steps):
            stack.callback(step)
