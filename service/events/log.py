"""What a durable log of events promises. A SQLite file keeps it for one replica, a Redis Stream for several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.errors import ServiceError
from service.events.event import Event


class Overloaded(ServiceError):  # noqa: N818 - what it is, not that it is an error
    """More events wait to be written than may: the caller should send them again, a little later."""

    status = 429
    code = "overloaded"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class LogUnavailable(ServiceError):  # noqa: N818
    """The log cannot be written or read now (disk full, Redis away); nothing was acknowledged."""

    status = 503
    code = "event_log_unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


@dataclass(frozen=True)
class Appended:
    """What became of the events of one append."""

    new: tuple[Event, ...]  # that the log did not hold before, in order
    n_known: int  # that it held already, by event_id

    @property
    def n_new(self) -> int:
        """How many events were added."""
        return len(self.new)


class Count(NamedTuple):
    """One sum over a window: how many of `name` (a kind of event, or one of service/events/quality.py) a bundle has."""

    bundle: str  # "" where the events name none
    name: str
    n: int


class EventLog(Protocol):
    """An append-only log. Positions ascend from 1 in the order of acceptance and are never given twice."""

    async def append(self, events: Sequence[Event]) -> Appended:
        """Add the events that the log does not know, all or none; they are durable when this returns.

        Overloaded where too many wait already, LogUnavailable where the log cannot be written; either way nothing
        was promised, and the same events may be sent again.
        """
        ...

    async def of_user(self, user_id: str) -> list[Event]:
        """The user's latest positive and dislike events (settings.events_per_user at most), oldest first.

        LogUnavailable where the log cannot be read.
        """
        ...

    async def last_position(self) -> int:
        """The position of the newest event; 0 where there was never one."""
        ...

    async def count_since(self, position: int) -> int:
        """How many events the log holds after the position."""
        ...

    async def read(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """At most `limit` events after the position, with their positions, ascending."""
        ...

    async def mark_exported(self, position: int) -> None:
        """Events up to the position are kept elsewhere: old ones of them may be removed. Never moves back."""
        ...

    async def counts_since(self, since: float) -> list[Count]:
        """The sums behind /quality over all buckets that begin at or after `since`."""
        ...
