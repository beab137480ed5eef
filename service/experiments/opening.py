"""Opens what experiments need in a process, and closes it at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from index.records import PointerMove
from service.background import Work, supervised
from service.bundles.lifecycle import BundleLifecycle
from service.experiments.arm_bundles import ArmBundles
from service.experiments.arms import Arms
from service.experiments.control import ExperimentControl
from service.experiments.experiments_file import ExperimentsFile
from service.experiments.ratio_watch import RatioWatch, ReadTotals
from service.redis.pubsub import PubSub
from service.settings import Settings
from service.workers.siblings import Siblings


@asynccontextmanager
async def open_experiments(
    bundles: ArmBundles,
    arms: Arms,
    lifecycle: BundleLifecycle,
    *,
    file: ExperimentsFile,
    settings: Settings,
    read_totals: ReadTotals,
    pubsub: PubSub | None,
    siblings: Siblings | None,
) -> AsyncIterator[ExperimentControl]:
    """Follow the registry's experiments and the file until the context ends.

    Those that run are in effect when it begins.
    """
    swapper = lifecycle.swapper

    def move(by: str, why: str) -> PointerMove:
        return PointerMove(at=swapper.now(), by=by, why=why)

    control = ExperimentControl(arms, bundles, lifecycle.publishing, move=move, pubsub=pubsub, siblings=siblings)
    await bundles.poll()
    work: dict[str, Work] = {
        "experiment_follower": bundles.follow,
        "sample_ratio": RatioWatch(arms, read_totals, bundles.metrics).watch,
    }
    if settings.experiments_file is not None:
        work["experiments_file"] = partial(file.follow, control, settings.rules_reload_s)
    async with supervised(bundles.metrics, work):
        yield control
