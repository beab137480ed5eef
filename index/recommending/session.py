"""Builds the profile of a session by exact fold-in of its items, alone or on top of a known user's profile."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.recommending.profile import NO_ROWS, Profile, fold_in

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Session:
    """The item ids of one visit, oldest first."""

    items: Sequence[tuple[str, float]] = ()  # id, and weight relative to an item of the user's past (1)
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """All item ids of the session."""
        return [*(item for item, _ in self.items), *self.liked, *self.disliked]


@dataclass(frozen=True)
class SessionWeights:
    """The weights of a like and a dislike; with 0 a disliked item is only excluded."""

    liked: float
    disliked: float


def session_profile(bundle: Bundle, base: Profile | None, session: Session, weights: SessionWeights) -> Profile | None:
    """The profile of the session on top of `base`; `base` itself where the bundle has none of the session's items.

    An item counts once, by its last mention in this order: base, items, liked, disliked; the bundle's recency weighs
    by rank in this whole list. A disliked item is never shown, and its negative weight lowers the scores of similar
    items.
    """
    items = list(_known_rows(bundle, session.items))
    liked = list(_known_rows(bundle, ((item, weights.liked) for item in session.liked)))
    disliked = list(_known_rows(bundle, ((item, -weights.disliked) for item in session.disliked)))
    if not (items or liked or disliked):
        return base
    past = {} if base is None else dict(zip(base.past.tolist(), base.strengths.tolist(), strict=True))
    for row, strength in [*items, *liked, *disliked]:
        past.pop(row, None)  # the past is in order of the last mention
        if strength:
            past[row] = strength
    disliked_rows = np.array([row for row, _ in disliked], np.int64)
    return fold_in(
        bundle,
        np.array(list(past), np.int64),
        np.array(list(past.values()), np.float32),
        source="session",
        own=None if base is None else base.own,
        excluded=np.concatenate([NO_ROWS if base is None else base.excluded, disliked_rows]),
    )


def _known_rows(bundle: Bundle, weighted_ids: Iterable[tuple[str, float]]) -> Iterable[tuple[int, float]]:
    for item_id, weight in weighted_ids:
        row = bundle.item_ids.row(item_id)
        if row is not None:
            yield row, weight


def unknown_items(bundle: Bundle, ids: Iterable[str]) -> list[str]:
    """The ids that the bundle does not have, each once."""
    return [item_id for item_id in dict.fromkeys(ids) if bundle.item_ids.row(item_id) is None]
