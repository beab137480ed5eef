"""Renders explanations as JSON: a sentence for people, and shares for programs that sum to the score."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import orjson

from index.recommending.attribution import UNITS, RoundedShares, ScoreShares, rounded
from index.recommending.sentences import MOST_NAMED, PastItems, explanation_sentences
from service.ranking.item_metadata import ShownItem, json_numbers

Array = np.ndarray[Any, Any]

REST_FIELDS = (b'"other_past_items"', b'"user_own"', b'"rules"')


def render_explanations(
    explanation: ScoreShares,
    past: PastItems,
    shown: Callable[[int], ShownItem],
    ranks: Array | None = None,
    *,
    shares: Array | None = None,
    pinned: Sequence[bool] = (),
    explored: Sequence[bool] = (),
    user_counts: Sequence[int] = (),
    new: Sequence[bool] = (),
) -> list[bytes]:
    """The explanation of each of the k items as JSON.

    ranks (n, k) are the counterfactual ranks; shown gives the texts of an item row; shares (k,) are what boosts add to
    the scores, None where there are no boosts; pinned (k,) marks the items that a rule pinned, explored (k,) those that
    are shown to learn about them, new (k,) those that training never saw; user_counts (k,) are the users who had each
    item.
    """
    of_all = RoundedShares.of(explanation, shares)
    weights = None if (past.weights == 1).all() else rounded(past.weights)
    items = [[shown(row) for row in rows] for rows in past.rows.tolist()]  # n lists of k
    titles = [[item.name for item in named] for named in items[:MOST_NAMED]]
    said = explanation_sentences(
        of_all, titles, past, weights=weights, pinned=pinned, explored=explored, user_counts=user_counts, new=new
    )
    k, numbers = of_all.units.shape[1], json_numbers((of_all.units / UNITS).ravel())
    shares_json = [numbers[start : start + k] for start in range(0, len(numbers), k)]  # one list of k for each share
    # One by one they take twice as long; no string in JSON has three such characters in a row.
    sentences = orjson.dumps(list(said))[2:-2].split(b'","')
    return _joined(of_all, sentences, shares_json, items, _more_fields(weights, ranks))


def _joined(
    shares: RoundedShares,
    sentences: Sequence[bytes],
    numbers: Sequence[Sequence[bytes]],
    items: Sequence[Sequence[ShownItem]],
    more: Sequence[Sequence[bytes]],
) -> list[bytes]:
    """The JSON of k explanations; numbers are those of each share, items and more those of each place in the past."""
    p, n = len(shares.names), shares.n_past
    columns: list[Iterable[bytes]] = [repeat(b'{"sentence":"'), sentences]  # their texts in turn make one explanation
    opening = b'","parts":{'
    for name, of_part in zip(shares.names, numbers, strict=False):
        columns += [repeat(b"%b%b:" % (opening, orjson.dumps(name))), of_part]
        opening = b","
    opening = b'},"past_items":['
    for place, of_item in enumerate(numbers[p : p + n]):
        in_past = [item.in_past for item in items[place]]
        columns += [
            repeat(opening),
            in_past,
            repeat(b',"contribution":'),
            of_item,
            more[place] if more else repeat(b""),
        ]
        opening = b"},"
    opening = b"}]," if n else b'},"past_items":[],'
    for field, of_rest in zip(REST_FIELDS, numbers[p + n :], strict=False):
        columns += [repeat(b"%b%b:" % (opening, field)), of_rest]
        opening = b","
    return list(map(b"".join, zip(*columns, repeat(b"}"), strict=False)))


def _more_fields(weights: list[list[float]] | None, ranks: Array | None) -> list[list[bytes]]:
    """For each of the n places in the past what only some of the k items have there; empty where none has anything."""
    fields = []
    if weights is not None:
        fields.append([[b"" if one == 1 else b',"weight":%b' % orjson.dumps(one) for one in row] for row in weights])
    if ranks is not None:
        fields.append([[b',"rank_without":%b' % orjson.dumps(one or None) for one in row] for row in ranks.tolist()])
    return [list(map(b"".join, zip(*rows, strict=True))) for rows in zip(*fields, strict=True)]
