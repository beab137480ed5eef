"""Events for tests."""

from typing import Any

from service.events.event import Event

NOON = 1_800_000_000.0  # a multiple of the buckets of /quality


def made(event_id: str, **changes: Any) -> Event:
    """A click of ann's on item-1 at noon, changed as asked."""
    fields = {"user_id": "ann", "item_id": "item-1", "kind": "click", "timestamp": NOON}
    return Event.model_validate(fields | {"event_id": event_id} | changes)


def several(n: int, start: int = 0, **changes: Any) -> list[Event]:
    return [made(f"event-{i}", **changes) for i in range(start, start + n)]
