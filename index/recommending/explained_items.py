"""The explanations of ranked items as records, with the numbers that the service's JSON has."""

from typing import Any

import numpy as np

from index.bundle import Bundle
from index.recommending.answers import Explanation, PastItem
from index.recommending.attribution import UNITS, RoundedShares, ScoreShares, rounded
from index.recommending.explaining import attribute_rows, named_past, ranks_without
from index.recommending.profile import Profile
from index.recommending.sentences import MOST_NAMED, explanation_sentences
from index.recommending.steps import done

Array = np.ndarray[Any, Any]


def rounded_score(scores: Array) -> list[float]:
    """Each score (k,) as the shortest number that reads back as the same."""
    return [float(str(score)) for score in np.asarray(scores)]


def explained_items(
    bundle: Bundle, profile: Profile, rows: Array, *, most: int, exclude_seen: bool, counterfactual: bool
) -> list[Explanation]:
    """The explanation of each of the rows; the arguments are those of a request to the service."""
    past_vectors = bundle.fold_in[profile.past]
    attributed = done(attribute_rows(bundle, profile, past_vectors, rows, most))
    ranks = None
    if counterfactual and attributed:
        allowed = np.ones(len(bundle.item_ids), np.bool_)
        allowed[profile.excluded] = False
        named = np.concatenate([shares.past for _, shares in attributed], axis=1)
        ranks = done(
            ranks_without(bundle, profile, past_vectors, rows, named, allowed=allowed, exclude_seen=exclude_seen)
        )
    explained: list[Explanation] = []
    for places, shares in attributed:
        explained += _of_some(bundle, profile, rows[places], shares, None if ranks is None else ranks[:, places])
    return explained


def _of_some(
    bundle: Bundle, profile: Profile, rows: Array, shares: ScoreShares, ranks: Array | None
) -> list[Explanation]:
    whole, past = RoundedShares.of(shares), named_past(bundle, profile, shares)
    names = [[_name(bundle, row) for row in of_place] for of_place in past.rows.tolist()]  # n lists of k
    titles = [[title for _, title in of_place] for of_place in names[:MOST_NAMED]]
    weights = rounded(past.weights)
    said = explanation_sentences(
        whole,
        titles,
        past,
        weights=None if (past.weights == 1).all() else weights,
        user_counts=bundle.popularity_count[rows].tolist(),
    )
    numbers = whole.units / UNITS
    n_parts, n_past = len(whole.names), whole.n_past
    explained = []
    for i, sentence in enumerate(said):
        column = numbers[:, i].tolist()
        past_items = tuple(
            PastItem(
                *names[place][i],
                contribution=column[n_parts + place],
                weight=weights[place][i],
                rank_without=None if ranks is None else int(ranks[place, i]) or None,
            )
            for place in range(n_past)
        )
        parts = dict(zip(whole.names, column, strict=False))
        explained.append(
            Explanation(sentence, parts, past_items, column[n_parts + n_past], column[n_parts + n_past + 1])
        )
    return explained


def _name(bundle: Bundle, row: int) -> tuple[str, str]:
    item_id = bundle.item_ids[row]
    return item_id, bundle.item(row)["title"] or item_id
