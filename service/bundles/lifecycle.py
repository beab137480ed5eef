"""Everything about bundles in one running process, opened and ended in one place."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.bundles.gate_process import Gate
from service.bundles.monitor import Guard
from service.bundles.open_published import Opened
from service.bundles.publishing import Publishing
from service.bundles.swapper import Holder

if TYPE_CHECKING:
    from service.state import Service


@dataclass(frozen=True)
class Bundles:
    """What the routes and whoever makes new bundles need."""

    holder: Holder
    publishing: Publishing


@asynccontextmanager
async def followed_bundles(
    service: "Service", opened: Opened, gate: Gate, clock: Callable[[], float] = time.time
) -> AsyncIterator[Bundles]:
    """Follow the registry's pointer and guard what serves, until the end."""
    holder = Holder(service, opened, clock)
    del opened  # the holder lets go of it when another bundle serves
    publishing = Publishing(service, holder, gate)
    guard = Guard(service, holder, publishing, name=socket.gethostname())
    work = (holder.follow(), guard.look_after_files(), service.serving.neighbours.build())
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield Bundles(holder, publishing)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await guard.close()
        await publishing.close()
