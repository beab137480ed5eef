"""The state of a running service, which the ASGI lifespan passes to every request."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from service.background import supervised
from service.bundles.current import CurrentBundle
from service.bundles.gate_process import GateRunner
from service.bundles.lifecycle import BundleLifecycle, bundle_lifecycle
from service.bundles.living_catalogue import LivingCatalogue
from service.bundles.loader import BundleLoader
from service.bundles.open_published import OpenedBundle
from service.bundles.warmup import RecentRequests, RecordedRequest
from service.encoding.encoder import encoder_of
from service.encoding.encoding import open_encoding
from service.events.intake import EventIntake
from service.events.open_log import open_intake
from service.experiments.arm_bundles import ArmBundles
from service.experiments.arms import Arms
from service.experiments.control import ExperimentControl
from service.experiments.experiments_file import ExperimentsFile
from service.experiments.opening import open_experiments
from service.experiments.retrained import RetrainedArms
from service.experiments.shadow import ShadowComparison
from service.items.intake import ItemIntake
from service.items.open_items import following, open_items
from service.live import LiveUpdates, open_live
from service.open_people import open_people
from service.people.forgetting import Forgetting
from service.ranking.recall_sampling import RecallSampler
from service.ranking.rules_file import RulesFile, reload_rules
from service.ranking.turns import Lane
from service.response_cache import ResponseCache
from service.retrain.item_pictures import ItemPictures
from service.retrain.open_retraining import open_retraining
from service.retrain.retraining import Retraining
from service.settings import MEGABYTE, Settings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup
from service.users.vector_cache import VectorCache, open_cache
from service.workers.scrape import WorkersScrape
from service.workers.siblings import Siblings
from service.workers.worker import Worker

STATE = "service"  # the key in the lifespan state


@dataclass
class Service:
    """The settings, metrics, connections, caches and current bundle of one process.

    `current.loaded` may change after any await, so a request uses the one in its `Request`. A change that affects the
    responses of all users (another bundle, hidden items, rules) clears `responses`.
    """

    settings: Settings
    metrics: Metrics
    cache: VectorCache | None
    responses: ResponseCache
    feedback: EventIntake
    items: ItemIntake
    live: LiveUpdates
    people: Forgetting
    rules: RulesFile
    retraining: Retraining | None  # None where no data to train on is configured
    recent: RecentRequests
    current: CurrentBundle
    arms: Arms
    experiments_file: ExperimentsFile
    shadow: ShadowComparison
    catalogue: LivingCatalogue
    siblings: Siblings | None = None  # the other workers of this machine; None where this is the only process
    scrape: WorkersScrape | None = None  # answers /metrics for all workers
    lane: Lane = field(default_factory=Lane)  # of requests that compute for long
    parsing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a large body is parsed in a thread
    long_events: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a long batch of events is written
    draining: bool = False  # shutting down: answers requests, and reports not ready
    bundles: BundleLifecycle = field(init=False)  # what replaces the current bundle
    experiments: ExperimentControl = field(init=False)


@asynccontextmanager
async def open_service(
    settings: Settings,
    metrics: Metrics,
    opened: OpenedBundle,
    start_requests: Callable[[Service], Sequence[RecordedRequest]] = lambda _: (),
    worker: Worker | None = None,
) -> AsyncIterator[Service]:
    """Open everything that a request needs, warm it up with the start requests, and close it at the end.

    `worker`: which of several processes this is; None where it serves alone.
    """
    siblings = None if worker is None else Siblings(worker, metrics)
    rng = random.Random()  # jitter only: replicas must not agree on it
    responses = ResponseCache(settings.answer_cache_mb * MEGABYTE)
    recent = RecentRequests(settings.warm_up_requests)
    gate = GateRunner(settings, opened.registry, metrics, recent, time.time)
    retrained_arms = RetrainedArms()
    _show_limits(settings, metrics, responses)
    async with (
        open_cache(settings, metrics, rng) as cache,
        open_intake(settings, metrics, list_bundles=opened.registry.ids) as feedback,
        open_live(settings, metrics, feedback, responses.clear, siblings=siblings) as live,
        open_items(settings, metrics, lambda: current.loaded.bundle, pubsub=live.pubsub, siblings=siblings) as items,
        open_encoding(settings, settings.images, opened.registry, metrics) as encoding,
        open_retraining(
            settings,
            opened.registry,
            metrics,
            feedback.log,
            gate.run,
            arms=retrained_arms,
            items=items.store,
            pictures=ItemPictures(encoding, opened.registry, settings.images),
            forgotten=lambda: live.forgotten.elements,
        ) as retraining,
        open_people(
            settings,
            metrics,
            feedback=feedback,
            live=live,
            cache=cache,
            registry=opened.registry,
            retraining=retraining,
        ) as people,
    ):
        live.on_forgotten.append(lambda forgotten: recent.drop(forgotten.times))
        rules = RulesFile(settings.rules_file, metrics, on_change=responses.clear)
        experiments_file = ExperimentsFile(settings.experiments_file, metrics)
        sampler = RecallSampler(settings.recall_sample, metrics, rng)
        lookup_for = partial(live.lookup_for, cache=cache)
        catalogue = LivingCatalogue(
            metrics,
            attach=live.attach,
            detach=live.detach,
            on_change=responses.clear,
            store=items.store,
            encoder_for=partial(encoder_of, encoding),
        )
        items.feature_problem = catalogue.feature_problem
        items.follower.listeners.append(catalogue.follow)
        items.follower.on_reset.append(catalogue.reset)
        loader = BundleLoader(settings, metrics, lookup_for, live.attach, catalogue, rules, recent, sampler)
        feedback.known_bundles.add(opened.bundle.bundle_id)

        def on_replace() -> None:
            feedback.known_bundles.add(current.bundle_id)
            sampler.serve(current.bundle_id)
            items.untrained.recount_soon()
            responses.clear()

        current = CurrentBundle(await loader.load(opened.bundle), on_replace, catalogue.complete)
        catalogue.current, arms = current, Arms(current)
        service = Service(
            settings, metrics, cache, responses, feedback, items, live, people, rules, retraining, recent, current,
            arms, experiments_file, ShadowComparison(arms, metrics, siblings), catalogue, siblings,
            scrape=None if siblings is None else WorkersScrape(siblings, metrics.registry),
        )  # fmt: skip
        feedback.arm_of = arms.label_of
        arm_bundles = ArmBundles(arms, loader, gate, feedback.known_bundles.add)
        await _warm_up(service, loader, start_requests(service))
        sampler.serve(current.bundle_id)
        try:
            async with (
                supervised(metrics, {"recall_sampler": sampler.run} if settings.recall_sample else {}),
                supervised(metrics, catalogue.work),
                following(items, metrics),
                reload_rules(
                    rules,
                    lambda: [(slot.loaded.bundle, slot.loaded.facet_store) for slot in (current, *arm_bundles.slots())],
                    settings,
                    metrics,
                ),
                bundle_lifecycle(
                    current, opened, loader, gate=gate, pubsub=live.pubsub, siblings=siblings
                ) as service.bundles,
                open_experiments(
                    arm_bundles,
                    service.bundles,
                    shadow=service.shadow,
                    file=experiments_file,
                    read_totals=feedback.log.arm_totals,
                    pubsub=live.pubsub,
                    siblings=siblings,
                ) as service.experiments,
                nullcontext() if siblings is None else siblings.connected(),  # once all of its handlers are there
            ):
                del opened  # a reference from here would keep the first bundle open after a swap
                retrained_arms.control.set_result(service.experiments)
                yield service
        finally:
            # Metrics outlive the service and refer to these: they would keep its bundle open.
            catalogue.current, catalogue.arms = None, []
            live.on_forgotten.clear()
            feedback.arm_of = None  # the finalizer of a bundle refers to its users, and so to this


async def _warm_up(service: Service, loader: BundleLoader, requests: Sequence[RecordedRequest]) -> None:
    """Do the work of first requests before callers' requests come; neither metrics nor caches show it."""
    loaded, live = service.current.loaded, service.live
    users = UserLookup(
        loaded.bundle,
        None,
        service.feedback.log,
        freshness=live.freshness,
        settings=service.settings,
        metrics=Metrics(),
        forgotten=live.forgotten,
    )
    await loader.warm_up(replace(loaded, users=users), requests)
    loaded.items.clear_cache()


def _show_limits(settings: Settings, metrics: Metrics, responses: ResponseCache) -> None:
    metrics.limits.labels("requests_in_flight").set(settings.max_in_flight)
    metrics.limits.labels("events_waiting").set(settings.events_waiting)
    metrics.limits.labels("answers_bytes").set(settings.answer_cache_mb * MEGABYTE)
    metrics.limits.labels("profiles_bytes").set(settings.profile_cache_mb * MEGABYTE)
    metrics.kept_bytes.labels("answers").set_function(lambda: responses.n_bytes)
