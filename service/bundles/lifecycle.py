"""Starts and stops what follows the registry, publishes bundles and monitors the one that serves."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.bundles.current import CurrentBundle
from service.bundles.gate_process import GateRunner
from service.bundles.loader import BundleLoader
from service.bundles.monitor import BundleMonitor
from service.bundles.open_published import OpenedBundle
from service.bundles.publishing import Publishing
from service.bundles.swapper import BundleSwapper
from service.redis.pubsub import PubSub


@dataclass(frozen=True)
class BundleLifecycle:
    """The swapper and publishing, for the routes."""

    swapper: BundleSwapper
    publishing: Publishing


@asynccontextmanager
async def bundle_lifecycle(
    current: CurrentBundle,
    opened: OpenedBundle,
    loader: BundleLoader,
    *,
    gate: GateRunner,
    pubsub: PubSub | None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[BundleLifecycle]:
    """Follow the registry's pointer and monitor the bundle that serves, until the context ends."""
    swapper = BundleSwapper(current, opened, loader, clock)
    del opened  # only the swapper may refer to it, and drops it at the next swap
    publishing = Publishing(swapper, gate, pubsub)
    monitor = BundleMonitor(swapper, publishing, loader.settings, loader.metrics, replica=socket.gethostname())
    work = (swapper.follow(), monitor.check_files())
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield BundleLifecycle(swapper, publishing)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await monitor.close()
        await publishing.close()
