"""What one running service holds, handed to every request through the ASGI lifespan state."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle, open_bundle
from index.registry import Registry
from service.answer_cache import AnswerCache
from service.catalogue import Catalogue
from service.events.intake import Feedback
from service.events.opening import open_feedback
from service.items import Items
from service.live.live import Live, open_live
from service.metrics import Metrics
from service.neighbours import Neighbours
from service.ranker import Ranker
from service.recommender import Recommender
from service.retrain.hook import Retraining
from service.retrain.setup import open_retraining
from service.search import Search, open_search
from service.settings import Settings
from service.standing import StandingRules, watching
from service.users import Users
from service.vector_cache import VectorCache, open_cache

Array = np.ndarray[Any, Any]

MEGABYTE = 1_000_000
STATE = "service"  # the key in the lifespan state


@dataclass(frozen=True)
class Serving:
    """All that answers from one bundle; whoever holds it meets no other bundle."""

    bundle: Bundle
    items: Items
    users: Users
    recommender: Recommender
    neighbours: Neighbours
    catalogue: Catalogue
    ranker: Ranker
    device: str  # cpu or gpu

    @property
    def hidden(self) -> Array:
        """The item rows that appear in no answer, ascending."""
        return self.recommender.hidden

    def hide(self, rows: Array) -> None:
        """Let exactly these item rows appear in no answer; whoever calls this clears the answer cache."""
        self.recommender.hide(rows)
        self.neighbours.hide(rows)


def serving_of(bundle: Bundle, users: Users, search: Search, device: str, settings: Settings) -> Serving:
    """All that answers from the bundle."""
    items, neighbours, catalogue = Items(bundle, settings.item_cache), Neighbours(bundle), Catalogue(bundle)
    recommender = Recommender(bundle, items, search)
    ranker = Ranker(
        recommender.scoring, recommender.by_popularity, search, neighbours, catalogue, pool=settings.diversity_pool
    )
    return Serving(bundle, items, users, recommender, neighbours, catalogue, ranker, device)


@dataclass
class Service:
    """The process: its settings, its metrics, its Redis, and what it serves.

    `serving` may be another one after any await: a request is answered from the one in its call. Whatever changes
    answers of all users (another bundle, hidden items, rules) clears `answers`.
    """

    settings: Settings
    metrics: Metrics
    cache: VectorCache | None
    answers: AnswerCache
    feedback: Feedback
    live: Live
    rules: StandingRules
    retraining: Retraining | None  # None where no data to train on were named
    serving: Serving
    draining: bool = False  # about to end: asked to answer what comes, but not to be sent more


def open_published(settings: Settings) -> Bundle:
    """The bundle that the registry's pointer names now. The pointer is read here and never again."""
    return open_bundle(Registry(settings.registry).current(), verify=settings.verify_bundle)


@asynccontextmanager
async def open_service(settings: Settings, metrics: Metrics, bundle: Bundle) -> AsyncIterator[Service]:
    """Everything that a request needs, opened now and closed at the end."""
    rng = random.Random()  # jitter only: replicas must not agree on it
    answers = AnswerCache(settings.answer_cache_mb * MEGABYTE)
    async with (
        open_cache(settings, metrics, rng) as cache,
        open_feedback(settings, metrics) as feedback,
        open_live(settings, metrics, feedback, answers.clear) as live,
        open_search(settings, metrics, bundle) as (device, search),
        open_retraining(settings, metrics, feedback.log) as retraining,
    ):
        users = live.users_of(bundle, cache)
        serving = serving_of(bundle, users, search, device, settings)
        live.attach(serving)
        metrics.bundle.info({"bundle_id": bundle.bundle_id, "model": bundle.manifest.model})
        rules = StandingRules(settings.rules_file, metrics, on_change=answers.clear)
        service = Service(settings, metrics, cache, answers, feedback, live, rules, retraining, serving)
        await rules.terms(bundle, serving.catalogue)  # InputError where they name what the bundle has not
        async with watching(rules, lambda: (service.serving.bundle, service.serving.catalogue), settings):
            yield service
