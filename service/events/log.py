"""The interface of the durable event log; a SQLite file implements it for one replica, a Redis Stream for several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.events.arm_totals import ArmTotals
from service.events.event import Event
from service.events.window import FOREVER
from service.storage.unavailable import StoreUnavailable


class LogUnavailable(StoreUnavailable):
    """The log cannot be written or read now (disk full, Redis unavailable); nothing was acknowledged."""

    code = "event_log_unavailable"


@dataclass(frozen=True)
class Appended:
    """The outcome of one append."""

    new: tuple[Event, ...]  # in order
    n_known: int  # duplicates of events in the log, by event_id

    @property
    def n_new(self) -> int:
        return len(self.new)


class EventCount(NamedTuple):
    """The count of one name in a time window and a bundle; a name is a kind of event or one of events/quality.py."""

    bundle: str  # empty where the events name none
    name: str
    n: int


class Forgotten(NamedTuple):
    """How much of a person was removed from the log."""

    events: int
    answers: int  # request ids with what was shown and chosen


class EventLog(Protocol):
    """An append-only log. Positions ascend from 1 in order of acceptance and are never reused.

    They have no gaps, except those that forgotten persons leave in a Redis log.

    Every method raises LogUnavailable where the log cannot be read or written.
    """

    @property
    def problem(self) -> str | None:
        """Why events were refused last; None while they are accepted."""
        ...

    async def append(self, events: Sequence[Event]) -> Appended:
        """Add the events that are not in the log yet, all or none; they are durable when this returns.

        Overloaded where too many events wait. After an error nothing was acknowledged, and a retry is safe.
        """
        ...

    async def user_events(self, user_id: str) -> list[Event]:
        """The user's latest positive and dislike events (settings.events_per_user at most), oldest first."""
        ...

    async def last_position(self) -> int:
        """The position of the newest event; 0 in a log that never had one."""
        ...

    async def count_since(self, position: int) -> int:
        """How many events are in the log after the position."""
        ...

    async def read(self, after: int, limit: int) -> list[tuple[int, Event | None]]:
        """The next `limit` entries after the position, with their positions, ascending; fewer only at the log's end.

        None in place of an event stands for an entry that cannot be read: another program or a later version wrote it.
        """
        ...

    async def mark_exported(self, position: int) -> None:
        """Record that events up to the position are exported, so that retention may remove them. Never moves back."""
        ...

    async def events_of(self, user_id: str) -> list[tuple[int, Event]]:
        """All events of the user, of every kind, with their positions, ascending."""
        ...

    async def forget(self, user_id: str, until: int) -> Forgotten:
        """Remove the user's events up to the position, durably; their sums stay. Repeating it is safe."""
        ...

    async def wipe(self, text: str) -> None:
        """Overwrite what this machine's files still have of removed events with the text."""
        ...

    async def counts_since(self, since: float, until: float = FOREVER) -> list[EventCount]:
        """The counts for /quality over the buckets from that of `since` to before that of `until`."""
        ...

    async def arm_totals(self, labels: Sequence[str]) -> dict[str, ArmTotals]:
        """For each of these arms (experiment/phase/arm) the sums over its exposed users, as events/arms.py says."""
        ...
