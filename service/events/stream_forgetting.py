"""What the script of the Redis event log removes of a forgotten person, in pieces that block Redis for milliseconds."""

from collections.abc import Iterator, Sequence
from typing import Any

from service.events.event import Event


def forget_arguments(
    events: Sequence[tuple[int, Event]], listed: Sequence[tuple[bytes, Event]], until: int, *, most: int
) -> Iterator[list[Any]]:
    """The last arguments of the FORGET script, for each of at least one call, at most `most` of each kind.

    `events` are the person's in the stream, by position; `listed` are the entries of their list, which may have events
    that the stream has exported and removed already.
    """
    removed = [(position, event) for position, event in events if position <= until]
    newer = {event.event_id for position, event in events if position > until}
    outdated = [(entry, event) for entry, event in listed if event.event_id not in newer]
    gone = {event.event_id: event for _, event in (*removed, *outdated)}
    requests = {event.request_id for event in gone.values() if event.request_id}
    places, entries = [f"{position}-0" for position, _ in removed], [entry for entry, _ in outdated]
    parts: list[list[Any]] = [places, [*gone], [*requests], entries]
    for start in range(0, max(1, *(len(part) for part in parts)), most):
        pieces = [part[start : start + most] for part in parts]
        yield [*(len(piece) for piece in pieces[:3]), *(value for piece in pieces for value in piece)]
