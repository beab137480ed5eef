"""Replays recent requests against a new bundle before it takes traffic: this fills its caches and finds failures."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import structlog

from service.bundles.loaded import LoadedBundle
from service.errors import ServiceError

MIN_TIMED_REQUESTS = 50  # with fewer, the p99 is the slowest request and says little about the bundle

log = structlog.get_logger()


class Replayed(NamedTuple):
    """The answer to a replayed request."""

    rendered: bytes  # its JSON after the opening brace; empty for an answer that is no JSON
    seconds: float  # that it took to compute, without waiting for the profile and for other requests


Replay = Callable[[LoadedBundle, str, Any], Awaitable[Replayed]]


class RecordedRequest(NamedTuple):
    """An answered request: the function that replays it, its id and query, and whether the id is a user id."""

    replay: Replay
    id: str
    query: Any
    personal: bool


class RecentRequests:
    """The latest requests, up to `max_requests`. Recording costs a request one append."""

    def __init__(self, max_requests: int) -> None:
        self._requests: deque[RecordedRequest] = deque(maxlen=max_requests)
        self.record = self._requests.append

    def __len__(self) -> int:
        return len(self._requests)

    def sample(self) -> list[RecordedRequest]:
        """The recorded requests, oldest first."""
        return list(self._requests)

    def drop(self, is_of: Callable[[str], object]) -> None:
        """Drop the requests of these users."""
        kept = [request for request in self._requests if not (request.personal and is_of(request.id))]
        self._requests.clear()
        self._requests.extend(kept)

    def user_ids(self) -> list[str]:
        """The ids of their users, each once, the latest first."""
        return list(dict.fromkeys(request.id for request in reversed(self._requests) if request.personal))


@dataclass(frozen=True)
class WarmUpResult:
    """What the replay of recent requests found."""

    n_requests: int
    failures: tuple[str, ...]  # each kind of failure once
    p99_ms: float  # 0.0 where there were too few requests

    def refusal_reason(self, max_p99_ms: float) -> str:
        """Why the bundle must not serve; empty where it may."""
        if self.failures:
            return f"of {self.n_requests} recent requests some fail: {'; '.join(self.failures)}"
        if self.p99_ms > max_p99_ms:
            return f"recent requests take {self.p99_ms:.0f} ms (p99 of {self.n_requests}), limit {max_p99_ms:g} ms"
        return ""


async def warm_up(
    loaded: LoadedBundle, requests: Iterable[RecordedRequest], timer: Callable[[], float]
) -> WarmUpResult:
    """Replay the requests against a bundle that does not serve yet: once to fill its caches, once more to time it.

    Where there are too few to time, they are replayed once.
    A replay yields to the event loop like any request, so that callers' requests are answered meanwhile.
    """
    sample = list(requests)
    failures: dict[str, None] = {}
    seconds = []
    for request in [*sample, *(sample if len(sample) >= MIN_TIMED_REQUESTS else [])]:
        start = timer()
        try:
            await request.replay(loaded, request.id, request.query)
        except ServiceError:  # as valid as an answer: the new bundle may lack the item
            pass
        except Exception as error:  # a caller would have got a 500
            log.warning("replayed request failed", bundle=loaded.bundle.bundle_id, exc_info=error)
            failures[f"{type(error).__name__}: {error}"[:200]] = None
        seconds.append(timer() - start)
    timed = seconds[len(sample) :]
    p99_ms = float(np.percentile(timed, 99)) * 1000 if len(timed) >= MIN_TIMED_REQUESTS else 0.0
    return WarmUpResult(len(sample), tuple(failures)[:3], p99_ms)
