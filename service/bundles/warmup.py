"""Replays recent requests against a new bundle before it takes traffic: this fills caches and finds failures."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import structlog

from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError

FEWEST_TIMED = 50  # requests below which the slowest one says nothing of the bundle

log = structlog.get_logger()

Replay = Callable[[LoadedBundle, str, Any], Awaitable[None]]


class RecordedRequest(NamedTuple):
    """One request that was answered: how to replay it, its id and query, and whether the id is a user's."""

    replay: Replay
    id: str
    query: Any
    personal: bool


class RecentRequests:
    """The latest requests, up to a number. A request pays one append for it."""

    def __init__(self, most: int) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=most)
        self.record = self._requests.append

    def __len__(self) -> int:
        return len(self._requests)

    def sample(self) -> list[RecordedRequest]:
        """All of them now, oldest first."""
        return list(self._requests)

    def user_ids(self) -> list[str]:
        """The users among them, each once, the latest first."""
        return list(dict.fromkeys(request.id for request in reversed(self._requests) if request.personal))


@dataclass(frozen=True)
class WarmUp:
    """The outcome of a replay."""

    n_requests: int
    failures: tuple[str, ...]  # each kind of failure once
    p99_ms: float  # 0.0 where there were too few requests to say

    def complaint(self, most_ms: float) -> str:
        """Why the bundle must not serve; empty where it may."""
        if self.failures:
            return f"of {self.n_requests} recent requests some fail: {'; '.join(self.failures)}"
        if self.p99_ms > most_ms:
            return f"recent requests take {self.p99_ms:.0f} ms (p99 of {self.n_requests}), limit {most_ms:g} ms"
        return ""


async def warm_up(loaded: LoadedBundle, requests: Iterable[RecordedRequest], timer: Callable[[], float]) -> WarmUp:
    """Answer the requests from a bundle that does not serve yet: once to fill its caches, once more with the timer.

    Each replay runs as any request would, so callers' requests run in between.
    """
    sample = list(requests)
    failures: dict[str, None] = {}
    seconds = []
    for request in [*sample, *sample]:
        start = timer()
        try:
            await request.replay(loaded, request.id, request.query)
        except ServiceError:  # a valid response too: the new bundle may lack the item
            pass
        except Exception as error:  # what would be a 500 to a caller
            log.warning("replayed request failed", bundle=loaded.bundle.bundle_id, exc_info=error)
            failures[f"{type(error).__name__}: {error}"[:200]] = None
        seconds.append(timer() - start)
    timed = seconds[len(sample) :]
    p99_ms = float(np.percentile(timed, 99)) * 1000 if len(timed) >= FEWEST_TIMED else 0.0
    return WarmUp(len(sample), tuple(failures)[:3], p99_ms)
