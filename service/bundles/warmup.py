"""What was asked of late is asked of a new bundle before anybody else asks: it fills caches, and shows what fails."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import structlog

from service.errors import ServiceError

if TYPE_CHECKING:
    from service.state import Service, Serving

FEWEST_TIMED = 50  # requests below which the slowest one says nothing of the bundle

log = structlog.get_logger()

Replay = Callable[["Service", "Serving", str, Any], Awaitable[None]]


class Asked(NamedTuple):
    """One request that was answered: how to make its answer anew, its id and query, and whether the id is a user's."""

    replay: Replay
    id: str
    query: Any
    personal: bool


class Recent:
    """The requests asked last, at most so many. Appending is all that a request pays."""

    def __init__(self, most: int) -> None:
        self._asked: deque[Asked] = deque(maxlen=most)
        self.note = self._asked.append

    def __len__(self) -> int:
        return len(self._asked)

    def sample(self) -> list[Asked]:
        """As they are now, oldest first."""
        return list(self._asked)

    def user_ids(self) -> list[str]:
        """The users among them, each once, those asked for last first."""
        return list(dict.fromkeys(asked.id for asked in reversed(self._asked) if asked.personal))


@dataclass(frozen=True)
class WarmUp:
    """What came of it."""

    n_requests: int
    failures: tuple[str, ...]  # each kind of failure once
    p99_ms: float  # 0.0 where there were too few requests to say

    def complaint(self, most_ms: float) -> str:
        """Why the bundle must not serve; empty where it may."""
        if self.failures:
            return f"of {self.n_requests} requests asked of late some fail: {'; '.join(self.failures)}"
        if self.p99_ms > most_ms:
            return f"requests asked of late take {self.p99_ms:.0f} ms (p99 of {self.n_requests}), limit {most_ms:g} ms"
        return ""


async def warm_up(service: "Service", serving: "Serving", asked: Iterable[Asked], timer: Callable[[], float]) -> WarmUp:
    """Answer them from what does not serve yet, once to fill its caches and once more by the clock.

    Each runs as any request would, so those of callers come in between.
    """
    sample = list(asked)
    failures: dict[str, None] = {}
    seconds = []
    for one in [*sample, *sample]:
        start = timer()
        try:
            await one.replay(service, serving, one.id, one.query)
        except ServiceError:  # an answer too: the new bundle may lack the item
            pass
        except Exception as error:  # where a request would end, and the caller would get a 500
            log.warning("replayed request failed", bundle=serving.bundle.bundle_id, exc_info=error)
            failures[f"{type(error).__name__}: {error}"[:200]] = None
        seconds.append(timer() - start)
    timed = seconds[len(sample) :]
    p99_ms = float(np.percentile(timed, 99)) * 1000 if len(timed) >= FEWEST_TIMED else 0.0
    return WarmUp(len(sample), tuple(failures)[:3], p99_ms)
