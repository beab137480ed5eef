"""The profile that lists are ranked and explained for: of a trained user, of a user's events, or of a session.

    vector = own + scale · sum over the past of weight · fold_in[item],   scale = (sum of |weight|)^-1/2
    weight = strength · (the weight of the bundle's recency at the item's rank from the newest)

With strengths of one this is exactly the vector that the model gives with the item side held fixed (docs/bundle.md). A
strength is that of the event's kind; a negative one is a dislike.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from index.bundle import Bundle
from index.recency import Recency

Array = np.ndarray[Any, Any]
Source = Literal["user", "fold_in", "session"]

NO_ROWS = np.empty(0, np.int64)

# Measured growth of resident memory for each of 40,000 profiles, without the numbers in their arrays.
OBJECT_BYTES = 80
ARRAY_BYTES = 130


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A user or session as the ranking sees it. A vector of zeros means that nothing is known to rank by."""

    source: Source
    vector: Array  # (d,) float32
    own: Array  # (d,) the user's own term, zeros for a user without training
    past: Array  # (s,) item rows, each once, oldest first
    strengths: Array  # (s,) float32: the weights as if all counted alike, whatever their rank
    excluded: Array = field(default_factory=lambda: NO_ROWS)  # disliked rows, never shown even where seen ones may be
    recency: Recency | None = None  # the bundle's
    known: bool = field(init=False)  # whether there is a vector to rank by

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", bool(self.vector.any()))  # once, as each request reads it

    @property
    def n_bytes(self) -> int:
        """Roughly the memory it takes; views of a bundle's arrays count as none."""
        arrays = (self.vector, self.own, self.past, self.strengths, self.excluded)
        return OBJECT_BYTES + sum(ARRAY_BYTES + _owned_bytes(one) for one in arrays if one is not NO_ROWS)

    @property
    def weights(self) -> Array:
        """The weights in the vector, (s,) float32."""
        return _weights(self.strengths, self.recency)

    @property
    def scale(self) -> float:
        """The factor of the weighted sum over the past in the vector."""
        return scale_of(float(np.abs(self.weights).sum()))


def _owned_bytes(array: Array) -> int:
    """The bytes held for this array alone; a vector from Redis holds the reply's bytes and is counted."""
    return 0 if isinstance(array.base, np.ndarray) else array.nbytes


def _weights(strengths: Array, recency: Recency | None) -> Array:
    return strengths if recency is None else strengths * recency.weights(len(strengths))


def scale_of(weight: float) -> float:
    """weight^-1/2, and 0 for a past without weight."""
    return weight**-0.5 if weight > 0 else 0.0


def trained_profile(bundle: Bundle, row: int, vector: Array | None = None) -> Profile:
    """The profile of a trained user without later events; the vector may come from a cache."""
    past = bundle.seen(row)
    embedding = bundle.user_embeddings[row] if vector is None else vector
    strengths = np.ones(len(past), np.float32)
    own = bundle.user_own[row]
    if bundle.manifest.tables.precision != "float32":  # what rounding changed in the sum is told as the own term's
        own = embedding - fold_in(bundle, past, strengths, source="user").vector
    return Profile("user", embedding, own, past, strengths, recency=bundle.recency)


def fold_in(
    bundle: Bundle,
    past: Array,
    strengths: Array,
    *,
    source: Source,
    own: Array | None = None,
    excluded: Array = NO_ROWS,
) -> Profile:
    """The profile with this past (s,) of item rows, oldest first; `own` (d,) is the own term of a trained user."""
    own = np.zeros(bundle.fold_in.shape[1], np.float32) if own is None else own
    strengths, recency = np.asarray(strengths, np.float32), bundle.recency
    weights = _weights(strengths, recency)
    scale = scale_of(float(np.abs(weights).sum()))
    vector: Array = (own + scale * (weights @ bundle.fold_in[past])).astype(np.float32)
    return Profile(source, vector, own, past, strengths, excluded, recency)


def excluded_rows(profile: Profile | None, *, exclude_seen: bool) -> Array:
    """The rows that the profile is not shown: disliked items, and with exclude_seen its past."""
    if profile is None:
        return NO_ROWS
    if not len(profile.excluded):
        return profile.past if exclude_seen else NO_ROWS
    return np.concatenate([profile.past, profile.excluded]) if exclude_seen else profile.excluded
