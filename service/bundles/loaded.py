"""All that answers from one bundle: made in a thread, taken up in one assignment, ended after its last request."""

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from service.ranking.facets import FacetStore
from service.ranking.item_metadata import ItemMetadata
from service.ranking.ranker import Ranker
from service.ranking.recommender import BundleRecommender
from service.ranking.search import open_search
from service.ranking.similar import SimilarItems
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup

Array = np.ndarray[Any, Any]

GRACE_S = 0.05  # after the last request: until nobody else holds a part of it for a moment more


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """All that answers from one bundle; whoever holds it meets no other bundle.

    Nothing in it may refer to it: when the last request that holds it ends, it goes, and its end begins.
    """

    bundle: Bundle
    items: ItemMetadata
    users: UserLookup
    recommender: BundleRecommender
    similar_items: SimilarItems
    facet_store: FacetStore
    ranker: Ranker
    device: str  # cpu or gpu

    @property
    def hidden(self) -> Array:
        """The item rows that appear in no answer, ascending."""
        return self.recommender.hidden

    def hide(self, rows: Array) -> None:
        """Let exactly these item rows appear in no answer; whoever calls this clears the answer cache."""
        self.recommender.hide(rows)
        self.similar_items.hide(rows)


def load_bundle(bundle: Bundle, users: UserLookup, settings: Settings, metrics: Metrics) -> LoadedBundle:
    """All that answers from the bundle. Reads much of it: for a thread, where requests are being answered."""
    search, device, close = open_search(settings, metrics, bundle)
    items, similar_items, facet_store = (
        ItemMetadata(bundle, settings.item_cache),
        SimilarItems(bundle),
        FacetStore(bundle),
    )
    recommender = BundleRecommender(bundle, items, search)
    ranker = Ranker(
        recommender.scoring, recommender.by_popularity, search, similar_items, facet_store, pool=settings.diversity_pool
    )
    loaded = LoadedBundle(bundle, items, users, recommender, similar_items, facet_store, ranker, device)
    metrics.bundles_open.inc()
    _end_after(loaded, close, metrics.bundles_open.dec)
    return loaded


def _end_after(loaded: LoadedBundle, *steps: Callable[[], None]) -> None:
    parts = list(vars(loaded).values())
    # At the process's end nothing needs to be closed, and no thread can be started.
    weakref.finalize(loaded, _in_thread, parts, steps).atexit = False


def _in_thread(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    """Called where the last reference went, the event loop as a rule: unmapping gigabytes there would hold it up."""
    threading.Thread(target=_end, args=(parts, steps), name="bundle-end", daemon=True).start()


def _end(parts: list[Any], steps: tuple[Callable[[], None], ...]) -> None:
    time.sleep(GRACE_S)
    for step in steps:
        step()
    parts.clear()
