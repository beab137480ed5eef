"""Appends of events in group commits, for both logs."""

from collections.abc import Awaitable, Callable, Sequence

from service.errors import ServiceError
from service.events.event import Event
from service.events.log import Appended, LogUnavailable
from service.storage.group_commit import CommitNames, GroupCommit, Tidy
from service.telemetry.metrics import EventMetrics

NAMES = CommitNames("events", "event log", "event_writer", LogUnavailable)

Write = Callable[[list[Event]], Awaitable[list[str]]]


class EventWrites(GroupCommit[Sequence[Event], Appended]):
    """`write` makes events durable and returns the ids of the new ones, or raises LogUnavailable."""

    def __init__(self, write: Write, tidy: Tidy, metrics: EventMetrics, *, most_waiting: int) -> None:
        self._write_events = write
        super().__init__(
            self._write_all,
            tidy,
            NAMES,
            metrics,
            seconds=metrics.event_write_seconds,
            waiting=metrics.events_waiting,
            most_waiting=most_waiting,
        )

    async def append(self, events: Sequence[Event]) -> Appended:
        """Return once the events are durable; Overloaded where too many wait."""
        return await self.commit(events) if events else Appended((), 0)

    async def _write_all(self, batch: list[Sequence[Event]]) -> list[Appended | ServiceError]:
        new_ids = set(await self._write_events([event for events in batch for event in events]))
        return [_claim_new(events, new_ids) for events in batch]


def _claim_new(events: Sequence[Event], new_ids: set[str]) -> Appended:
    """The new events; where an id appears more than once, only the first event with it is new."""
    new = []
    for event in events:
        if event.event_id in new_ids:
            new_ids.remove(event.event_id)
            new.append(event)
    return Appended(tuple(new), len(events) - len(new))
