"""A user's past after new events: the trained one and theirs, each item once, the newest event of an item deciding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index.bundle import Bundle
from service.events.event import POSITIVE, Event
from service.ranking.profile import Profile, fold_in
from service.settings import Settings

DAY_S = 86_400.0


@dataclass(frozen=True)
class EventWeights:
    """How much an event counts: by its kind, and by how much older it is than the user's newest one."""

    kinds: Mapping[str, float]
    half_life_s: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> "EventWeights":
        """As the operator set it; by default every event weighs 1, and the fold-in is exact."""
        days = settings.event_half_life_days
        kinds = {kind: getattr(settings, f"event_weight_{kind}") for kind in POSITIVE}
        return cls(kinds, None if days is None else days * DAY_S)

    def aged(self, seconds: float) -> float:
        """What is left of a weight of 1 after so long; nothing gains by being from the future."""
        return 1.0 if self.half_life_s is None else 0.5 ** (max(0.0, seconds) / self.half_life_s)


def with_events(
    bundle: Bundle, user_row: int | None, events: Sequence[Event], weighing: EventWeights
) -> Profile | None:
    """The profile that training and these events, oldest first, give; None where no event is of an item it knows.

    Ages run back from the user's newest event and not from now, so a profile stays right as long as no event comes.
    What training saw counts as of the bundle's making.
    """
    last = _last_by_row(bundle, events)
    if not last:
        return None
    newest = max(event.timestamp for event in last.values())
    trained = [] if user_row is None else [row for row in bundle.seen(user_row).tolist() if row not in last]
    liked = {row: event for row, event in last.items() if event.kind in POSITIVE}
    before = weighing.aged(newest - bundle.manifest.created_at.timestamp())
    weights = [before] * len(trained)
    weights += [weighing.kinds[event.kind] * weighing.aged(newest - event.timestamp) for event in liked.values()]
    return fold_in(
        bundle,
        np.array([*trained, *liked], np.int64),
        np.array(weights, np.float32),
        source="fold_in",
        own=None if user_row is None else bundle.user_own[user_row],
        excluded=np.array([row for row in last if row not in liked], np.int64),
    )


def _last_by_row(bundle: Bundle, events: Sequence[Event]) -> dict[int, Event]:
    """The last event of each item that the bundle has, in the order in which these events came."""
    last: dict[int, Event] = {}
    for event in events:
        row = bundle.item_ids.row(event.item_id)
        if row is not None:
            last.pop(row, None)
            last[row] = event
    return last
