"""Builds a user's profile from the trained past and later events; the newest event of an item decides."""

from collections.abc import Sequence

import numpy as np

from index.bundle import Bundle
from index.recommending.profile import Profile, fold_in
from service.events.event import Event
from service.events.kinds import EventKinds


def profile_from_events(
    bundle: Bundle, user_row: int | None, events: Sequence[Event], kinds: EventKinds
) -> Profile | None:
    """The profile from the user's training and these events, oldest first; None where the bundle has none of the items.

    The past is the items of training and then those of events, in order of each item's last event. The bundle's recency
    counts events and not time, so a cached profile is valid until the next event.
    """
    # A Redis log may list events of kinds that the operator's file no longer has.
    last_events = _last_event_by_row(bundle, [event for event in events if event.kind in kinds.in_profile])
    if not last_events:
        return None
    trained = [] if user_row is None else [row for row in bundle.seen(user_row).tolist() if row not in last_events]
    positive = {row: event for row, event in last_events.items() if event.kind in kinds.positive}
    past_strengths = [1.0] * len(trained) + [kinds.strength(event) for event in positive.values()]
    return fold_in(
        bundle,
        np.array([*trained, *positive], np.int64),
        np.array(past_strengths, np.float32),
        source="fold_in",
        own=None if user_row is None else bundle.user_own[user_row],
        excluded=np.array([row for row in last_events if row not in positive], np.int64),
    )


def _last_event_by_row(bundle: Bundle, events: Sequence[Event]) -> dict[int, Event]:
    """The last event of each item that the bundle has, in order of acceptance."""
    last: dict[int, Event] = {}
    for event in events:
        row = bundle.item_ids.row(event.item_id)
        if row is not None:
            last.pop(row, None)
            last[row] = event
    return last
