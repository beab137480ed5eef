"""Polls the registry at intervals, and at once after a message; what failed is tried again with backoff."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from service.bundles.backoff import Backoff


class Polling:
    """When to poll next, and which bundles to try again."""

    def __init__(self, every_s: float) -> None:
        self.backoff = Backoff(time.monotonic)
        self._every_s = every_s
        self._wake = asyncio.Event()

    def now(self) -> None:
        """Poll at once, without backoff: what the registry says has changed."""
        self.backoff.clear()
        self._wake.set()

    async def run(self, poll: Callable[[], Awaitable[None]]) -> None:
        """Poll until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._every_s)
            self._wake.clear()
            await poll()
