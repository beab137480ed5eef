"""Events of few answers, for laws that hold for any, and what /quality counts of one answer, from all of its events."""

from typing import Any

from hypothesis import strategies as st
from made_events import NOON, made

from service.events.event import Event


def figures(impressions: list[Event], events: list[Event]) -> dict[str, int]:
    named = {item for event in impressions for item in (event.item_id, *event.items) if item}
    shown = max(len(named), *(int(event.value) for event in impressions))

    def joined(kind: str) -> int:
        items = {event.item_id for event in events if event.kind == kind}
        return len(items & named) + min(len(items - named), shown - len(named))

    clicks = joined("click")
    return {
        "answers": 1,
        "shown": shown,
        "clicked": clicks,
        "hits": int(clicks > 0),
        "conversions": joined("purchase"),
        "revenue": revenue(named, shown - len(named), [event for event in events if event.kind == "purchase"]),
    }


def revenue(named: set[str], others_shown: int, bought: list[Event]) -> int:
    """In thousandths: all that was paid for named items, and the mean of the others for each that was shown."""
    others = {event.item_id for event in bought} - named
    of_named = sum(event.paid for event in bought if event.item_id in named)
    of_others = sum(event.paid for event in bought if event.item_id in others)
    return of_named + (of_others * min(len(others), others_shown) // len(others) if others else 0)


names = st.sampled_from(["", "item-0", "item-1", "item-2", "item-3"])


def possible(kind: str, item: str, items: list[str], value: int, **fields: Any) -> Event:
    """An event that its kind allows: only an impression may name no item, or several."""
    if kind == "impression":
        return made(kind=kind, item_id=item, items=[] if item else items, value=value, **fields)
    if kind == "purchase" and value != 2:  # else without a price
        fields |= {"value": value + 0.125, "quantity": value % 3}
    return made(kind=kind, item_id=item or "item-9", **fields)


events = st.builds(
    possible,
    event_id=st.integers(0, 10**6).map(str),
    kind=st.sampled_from(["impression", "impression", "click", "click", "purchase", "like", "wish"]),
    item=names,
    items=st.lists(names.filter(bool), max_size=4),
    value=st.integers(1, 6),
    request_id=st.none() | st.sampled_from(["r1", "r2", "r3"]),
    bundle=st.none() | st.sampled_from(["b1", "b2"]),
    timestamp=st.sampled_from([NOON - 86_400, NOON, NOON + 299.9, NOON + 300]),
)
