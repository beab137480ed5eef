"""A loaded bundle: everything that answers from one bundle, closed automatically after its last request."""

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from index.bundle import Bundle
from service.bundles.traffic import Traffic
from service.items.image_urls import image_urls
from service.ranking.chosen_search import open_chosen_search
from service.ranking.facets import FacetStore
from service.ranking.item_metadata import ItemMetadata
from service.ranking.ranker import Ranker
from service.ranking.recall_sampling import RecallSampler
from service.ranking.recommender import BundleRecommender
from service.ranking.similar import SimilarItems
from service.settings import RankingSettings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup

Array = np.ndarray[Any, Any]

GRACE_S = 0.05  # from the last reference to the bundle until it closes: others may still use a part of it


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
    traffic: Traffic = field(default_factory=Traffic)  # its answers while it serves

    @property
    def hidden(self) -> Array:
        """The rows of hidden items, ascending."""
        return self.recommender.hidden

    def hide(self, rows: Array) -> None:
        """Hide exactly these item rows from every list. The caller must clear the response cache."""
        self.recommender.hide(rows)
        self.similar_items.hide(rows)


def load_bundle(
    bundle: Bundle, users: UserLookup, settings: RankingSettings, metrics: Metrics, sampler: RecallSampler | None = None
) -> LoadedBundle:
    """Build the parts. This reads much of the bundle, so run it in a thread while requests are answered."""
    search, device, close = open_chosen_search(settings, metrics, bundle, sampler)
    items = ItemMetadata(bundle, settings.item_cache, image_urls(settings.images))
    similar_items, facet_store = SimilarItems(bundle), FacetStore(bundle)
    recommender = BundleRecommender(bundle, items, search)
    ranker = Ranker(
        recommender.scoring, recommender.by_popularity, search, similar_items, facet_store, pool=settings.diversity_pool
    )
    loaded = LoadedBundle(bundle, items, users, recommender, similar_items, facet_store, ranker, device)
    metrics.bundles_open.inc()
    _close_after_last_reference(loaded, close, metrics.bundles_open.dec)
    return loaded


def _close_after_last_reference(loaded: LoadedBundle, *steps: Callable[[], None]) -> None:
    parts = list(vars(loaded).values())
    # At the end of the process nothing needs to be closed, and no thread can be started.
    weakref.finalize(loaded, _close_in_thread, parts, steps).atexit = False


def _close_in_thread(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    """Runs where the last reference went, mostly in the event loop, which unmapping gigabytes would block."""
    threading.Thread(target=_close, args=(parts, steps), name="bundle-close", daemon=True).start()


def _close(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    time.sleep(GRACE_S)
    with ExitStack() as stack:  # a step that fails skips no other
        stack.callback(parts.clear)
        for step in reversed(steps):
            stack.callback(step)
