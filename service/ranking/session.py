"""An anonymous session, or one on top of a known user: an exact fold-in over what was looked at, liked and disliked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from service.ranking.profile import NO_ROWS, Profile, fold_in

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Session:
    """Item ids of this visit, oldest first, with what each weighs beside an item of the user's past (1)."""

    items: Sequence[tuple[str, float]] = ()
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()

    @property
    def ids(self) -> list[str]:
        """Every item id that it names."""
        return [*(item for item, _ in self.items), *self.liked, *self.disliked]


@dataclass(frozen=True)
class SessionWeights:
    """How much a like and a dislike weigh; a dislike of 0 only leaves the item out."""

    liked: float
    disliked: float


def session_profile(bundle: Bundle, base: Profile | None, session: Session, weights: SessionWeights) -> Profile | None:
    """The profile of the session on top of `base`; `base` itself where the bundle knows nothing that it names.

    An item counts once, as it was named last: in the base, the items, the liked, the disliked. What was disliked is
    never shown, and speaks against what is like it.
    """
    items = list(_known(bundle, session.items))
    liked = list(_known(bundle, ((item, weights.liked) for item in session.liked)))
    disliked = list(_known(bundle, ((item, -weights.disliked) for item in session.disliked)))
    if not (items or liked or disliked):
        return base
    past = {} if base is None else dict(zip(base.past.tolist(), base.weights.tolist(), strict=True))
    for row, weight in [*items, *liked, *disliked]:
        past.pop(row, None)  # named last is newest
        if weight:
            past[row] = weight
    never = np.array([row for row, _ in disliked], np.int64)
    return fold_in(
        bundle,
        np.array(list(past), np.int64),
        np.array(list(past.values()), np.float32),
        source="session",
        own=None if base is None else base.own,
        excluded=np.concatenate([NO_ROWS if base is None else base.excluded, never]),
    )


def _known(bundle: Bundle, named: Iterable[tuple[str, float]]) -> Iterable[tuple[int, float]]:
    for item_id, weight in named:
        row = bundle.item_ids.row(item_id)
        if row is not None:
            yield row, weight


def unknown_items(bundle: Bundle, ids: Iterable[str]) -> list[str]:
    """Those ids that the bundle lacks, each once."""
    return [item_id for item_id in dict.fromkeys(ids) if bundle.item_ids.row(item_id) is None]
