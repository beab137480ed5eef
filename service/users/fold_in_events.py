"""Builds a user's profile from the trained past and later events; the newest event of an item decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.bundle import Bundle
from service.events.event import POSITIVE, Event
from service.ranking.profile import Profile, fold_in
from service.settings import UserSettings

DAY_S = 86_400.0


@dataclass(frozen=True)
class EventWeights:
    """The weight of an event in a profile: by its kind, and by its age relative to the user's newest event."""

    by_kind: Mapping[str, float]
    half_life_s: float | None = None

    @classmethod
    def from_settings(cls, settings: UserSettings) -> "EventWeights":
        days = settings.event_half_life_days
        by_kind = {kind: getattr(settings, f"event_weight_{kind}") for kind in POSITIVE}
        return cls(by_kind, None if days is None else days * DAY_S)

    def decay(self, age_s: float) -> float:
        """The factor of a weight at this age; a negative age counts as 0."""
        return 1.0 if self.half_life_s is None else 0.5 ** (max(0.0, age_s) / self.half_life_s)


def profile_from_events(
    bundle: Bundle, user_row: int | None, events: Sequence[Event], weights: EventWeights
) -> Profile | None:
    """The profile from the user's training and these events, oldest first; None where the bundle has none of the items.

    Ages are relative to the user's newest event and not to now, so a cached profile is valid until the next event.
    Interactions from training are as old as the bundle.
    """
    last_events = _last_event_by_row(bundle, events)
    if not last_events:
        return None
    newest = max(event.timestamp for event in last_events.values())
    trained = [] if user_row is None else [row for row in bundle.seen(user_row).tolist() if row not in last_events]
    positive = {row: event for row, event in last_events.items() if event.kind in POSITIVE}
    past_weights = [weights.decay(newest - bundle.manifest.created_at.timestamp())] * len(trained)
    past_weights += [
        weights.by_kind[event.kind] * weights.decay(newest - event.timestamp) for event in positive.values()
    ]
    return fold_in(
        bundle,
        np.array([*trained, *positive], np.int64),
        np.array(past_weights, np.float32),
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
