"""Explains ranked items of a bundle: shares of their scores, and their ranks without one past item."""

from typing import Any

import numpy as np

from index.bundle import Bundle
from index.recommending.attribution import ScoreShares, attribute_score, chunks_of, counterfactual_ranks
from index.recommending.profile import Profile
from index.recommending.sentences import PastItems
from index.recommending.steps import Steps

Array = np.ndarray[Any, Any]


def attribute_rows(
    bundle: Bundle, profile: Profile, past_vectors: Array, rows: Array, most: int
) -> Steps[list[tuple[slice, ScoreShares]]]:
    """The shares of the rows' scores, some places of the list at a time; at most `most` past items are named."""
    found = []
    for places in chunks_of(len(rows), len(past_vectors)):
        part = rows[places]
        items, parts = bundle.item_embeddings[part], bundle.parts_of(part)
        found.append((places, attribute_score(profile, past_vectors, items=items, parts=parts, most=most)))
        yield
    return found


def ranks_without(
    bundle: Bundle,
    profile: Profile,
    past_vectors: Array,
    rows: Array,
    past: Array,
    *,
    allowed: Array,
    exclude_seen: bool,
    shares: Array | None = None,
) -> Steps[Array]:
    """The counterfactual ranks (n, k), for past (n, k) positions.

    `allowed` (n_items,) masks the rows that this profile may be shown where seen items are not excluded; `shares` as
    for `counterfactual_ranks`.
    """
    hidden = np.flatnonzero(~allowed)
    return counterfactual_ranks(
        profile,
        past_vectors,
        embeddings=bundle.item_embeddings,
        rows=rows,
        past=past,
        hidden=np.concatenate([profile.past, hidden]) if exclude_seen else hidden,
        freed=allowed[profile.past],
        shares=shares,
    )


def named_past(bundle: Bundle, profile: Profile, shares: ScoreShares) -> PastItems:
    """The past items that the shares name."""
    return PastItems(
        profile.past[shares.past],
        profile.weights[shares.past],
        profile.source,
        count=len(profile.past),
        has_taste=bundle.manifest.fold_in == "exact",
    )
