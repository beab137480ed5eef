"""A value that takes seconds to build: built once, in a thread, for all that wait for it."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BuiltOnce(Generic[T]):
    """What `build` returns, built when it is first needed; concurrent callers wait for the same build.

    Refers to what `build` refers to, and after that to the value as well. A build that failed is repeated for the next
    caller. For one event loop.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._building: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """The value; raises what the build raises."""
        if self._building is None or failed(self._building):
            self._building = asyncio.ensure_future(asyncio.to_thread(self._build))
            self._building.add_done_callback(failed)  # reads its exception, which else is logged where no one waits
        return await asyncio.shield(self._building)  # a cancelled caller does not cancel it for the others


def failed(building: "asyncio.Future[Any]") -> bool:
    """Whether the build ended without a value."""
    return building.done() and (building.cancelled() or building.exception() is not None)
