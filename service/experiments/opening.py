"""Opens what experiments need in a process, and closes it at the end."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from index.records import PointerMove
from service.background import Work, supervised
from service.bundles.lifecycle import BundleLifecycle
from service.experiments.arm_bundles import ArmBundles
from service.experiments.control import ExperimentControl
from service.experiments.experiments_file import ExperimentsFile
from service.experiments.guardrails import GuardedArms
from service.experiments.ratio_watch import RatioWatch, ReadTotals
from service.experiments.shadow import ShadowComparison
from service.redis.pubsub import PubSub
from service.workers.siblings import Siblings


@asynccontextmanager
async def open_experiments(
    bundles: ArmBundles,
    lifecycle: BundleLifecycle,
    *,
    shadow: ShadowComparison,
    file: ExperimentsFile,
    read_totals: ReadTotals,
    pubsub: PubSub | None,
    siblings: Siblings | None,
) -> AsyncIterator[ExperimentControl]:
    """Follow the registry's experiments and the file, and guard the arms, until the context ends.

    The experiments that run are in effect when it begins.
    """
    swapper, settings, arms = lifecycle.swapper, bundles.settings, bundles.arms

    def move(by: str, why: str) -> PointerMove:
        return PointerMove(at=swapper.now(), by=by, why=why)

    control = ExperimentControl(arms, bundles, lifecycle.publishing, move=move, pubsub=pubsub, siblings=siblings)
    await bundles.poll()
    guarded = GuardedArms(arms, control, settings, bundles.metrics, replica=socket.gethostname())
    work: dict[str, Work] = {
        "experiment_follower": bundles.follow,
        "shadow": shadow.run,
        "guardrails": guarded.watch,
        "sample_ratio": RatioWatch(arms, read_totals, bundles.metrics).watch,
    }
    if settings.experiments_file is not None:
        work["experiments_file"] = partial(file.follow, control, settings.rules_reload_s)
    async with supervised(bundles.metrics, work):
        yield control
