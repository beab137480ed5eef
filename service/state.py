"""What one running service holds, handed to every request through the ASGI lifespan state."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.bundles.gate_process import Gate
from service.bundles.lifecycle import Bundles, followed_bundles
from service.bundles.loaded import Serving, make_serving
from service.bundles.open_published import Opened
from service.bundles.warmup import Recent
from service.events.intake import Feedback
from service.events.open_log import open_feedback
from service.live import Live, open_live
from service.ranking.rules_file import StandingRules, watching
from service.response_cache import AnswerCache
from service.retrain.assembly import open_retraining
from service.retrain.hook import Retraining
from service.settings import MEGABYTE, Settings
from service.telemetry.metrics import Metrics
from service.users.vector_cache import VectorCache, open_cache

__all__ = ["STATE", "Service", "Serving", "open_service"]

STATE = "service"  # the key in the lifespan state


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
    recent: Recent
    serving: Serving
    draining: bool = False  # about to end: asked to answer what comes, but not to be sent more
    bundles: Bundles = field(init=False)  # what changes `serving`


@asynccontextmanager
async def open_service(settings: Settings, metrics: Metrics, opened: Opened) -> AsyncIterator[Service]:
    """Everything that a request needs, opened now and closed at the end."""
    rng = random.Random()  # jitter only: replicas must not agree on it
    answers = AnswerCache(settings.answer_cache_mb * MEGABYTE)
    recent = Recent(settings.warm_up_requests)
    gate = Gate(settings, opened.registry, metrics, recent, time.time)
    metrics.limits.labels("requests_in_flight").set(settings.max_in_flight)
    metrics.limits.labels("events_waiting").set(settings.events_waiting)
    metrics.limits.labels("answers_bytes").set(settings.answer_cache_mb * MEGABYTE)
    metrics.limits.labels("profiles_bytes").set(settings.profile_cache_mb * MEGABYTE)
    metrics.kept_bytes.labels("answers").set_function(lambda: answers.n_bytes)
    async with (
        open_cache(settings, metrics, rng) as cache,
        open_feedback(settings, metrics) as feedback,
        open_live(settings, metrics, feedback, answers.clear) as live,
        open_retraining(settings, opened.registry, metrics, feedback.log, gate.judge) as retraining,
    ):
        bundle = opened.bundle
        serving = make_serving(bundle, live.users_of(bundle, cache), settings, metrics)
        live.attach(serving)
        rules = StandingRules(settings.rules_file, metrics, on_change=answers.clear)
        service = Service(settings, metrics, cache, answers, feedback, live, rules, retraining, recent, serving)
        del serving  # the service's own reference is the only one, so that it can go
        await rules.terms(bundle, service.serving.catalogue)  # InputError where they name what the bundle has not
        async with (
            watching(rules, lambda: (service.serving.bundle, service.serving.catalogue), settings),
            followed_bundles(service, opened, gate) as service.bundles,
        ):
            del bundle, opened
            yield service
