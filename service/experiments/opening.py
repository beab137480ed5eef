"""Opens what experiments need in a process, and closes it at the end."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from index.records import PointerMove
from service.background import Work, supervised
from service.bundles.lifecycle import BundleLifecycle
from service.experiments.arm_bundles import ArmBundles
from service.experiments.arms import Arms
from service.experiments.control import ExperimentControl
from service.experiments.guardrails import GuardedArms
from service.redis.pubsub import PubSub
from service.settings import BundleSettings
from service.workers.siblings import Siblings


@asynccontextmanager
async def open_experiments(
    bundles: ArmBundles,
    arms: Arms,
    lifecycle: BundleLifecycle,
    settings: BundleSettings,
    *,
    pubsub: PubSub | None,
    siblings: Siblings | None,
) -> AsyncIterator[ExperimentControl]:
    """Follow the registry's experiments and guard their arms until the context ends.

    Those that run are in effect when it begins.
    """
    swapper = lifecycle.swapper

    def move(by: str, why: str) -> PointerMove:
        return PointerMove(at=swapper.now(), by=by, why=why)

    control = ExperimentControl(arms, bundles, lifecycle.publishing, move=move, pubsub=pubsub, siblings=siblings)
    await bundles.poll()
    guarded = GuardedArms(arms, control, settings, bundles.metrics, replica=socket.gethostname())
    work: dict[str, Work] = {"experiment_follower": bundles.follow, "guardrails": guarded.watch}
    async with supervised(bundles.metrics, work):
        yield control
