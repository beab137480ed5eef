"""Starts and stops what follows the registry, publishes bundles and monitors the one that serves."""

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.background import Work, supervised
from service.bundles.comparing import BundleComparison
from service.bundles.current import CurrentBundle
from service.bundles.gate_process import GateRunner
from service.bundles.loader import BundleLoader
from service.bundles.monitor import BundleMonitor
from service.bundles.open_published import OpenedBundle
from service.bundles.publishing import Publishing
from service.bundles.swapper import BundleSwapper
from service.redis.pubsub import PubSub
from service.workers.siblings import Siblings


@dataclass(frozen=True)
class BundleLifecycle:
    """The swapper, publishing and the comparison of two bundles, for the routes."""

    swapper: BundleSwapper
    publishing: Publishing
    comparison: BundleComparison


@asynccontextmanager
async def bundle_lifecycle(
    current: CurrentBundle,
    opened: OpenedBundle,
    loader: BundleLoader,
    *,
    gate: GateRunner,
    pubsub: PubSub | None,
    siblings: Siblings | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[BundleLifecycle]:
    """Follow the registry's pointer and monitor the bundle that serves, until the context ends."""
    swapper = BundleSwapper(current, opened, loader, clock)
    del opened  # only the swapper may refer to it, and drops it at the next swap
    publishing = Publishing(swapper, gate, pubsub, siblings)
    comparison = BundleComparison(swapper, loader.settings, loader.lookup_for)
    monitor = BundleMonitor(swapper, publishing, loader.settings, loader.metrics, replica=socket.gethostname())
    work: dict[str, Work] = {
        "bundle_follower": swapper.follow,
        "bundle_files": monitor.check_files,
        "bundle_canary": monitor.watch_responses,
    }
    try:
        async with supervised(loader.metrics, work):
            yield BundleLifecycle(swapper, publishing, comparison)
    finally:
        await comparison.close()
        await publishing.close()
