"""Compares two bundles by the lists that they give to a sample of the users whom both know."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.comparison import RecommendedLists, common_share, ids_of, no_pause, recommended_lists

Array = np.ndarray[Any, Any]

LEAST_COMMON = 3  # items of two lists: the order of two says little


@dataclass(frozen=True)
class Side:
    """What one bundle has and shows that the other may not."""

    only_users: int
    only_items: Array  # ascending rows of the items that the other bundle has not
    shown_items: int  # different items in the sample's lists
    coverage: float  # of the catalogue, of what these lists could hold at most


@dataclass(frozen=True)
class SideBySide:
    """How much two bundles agree."""

    shared_users: int
    shared_items: int
    sampled_users: int
    overlap: float | None  # mean share of common items; None where no user is known to both
    rank_correlation: float | None  # mean of Spearman's over the common items; None where all lists have too few
    a: Side
    b: Side


def compare_lists(a: Bundle, b: Bundle, *, k: int, sample: int, pause: Callable[[], None] = no_pause) -> SideBySide:
    """Compare the top k unseen items of up to `sample` users, evenly spaced among those whom both bundles know.

    `pause` is called after each search.
    """
    users, items = a.user_ids.shared_with(b.user_ids), a.item_ids.shared_with(b.item_ids)
    sampled = users[np.linspace(0, len(users) - 1, min(len(users), sample)).astype(np.int64)]
    others = b.user_ids.rows([a.user_ids[row] for row in sampled.tolist()])
    sampled, others = sampled[others >= 0], others[others >= 0]  # two ids may have one hash
    lists_a = recommended_lists(a, a.index(), sampled, k, timer=time.perf_counter, pause=pause)
    lists_b = recommended_lists(b, b.index(), others, k, timer=time.perf_counter, pause=pause)
    pairs = list(zip(ids_of(a, lists_a.rows), ids_of(b, lists_b.rows), strict=True))
    correlations = [found for found in (spearman(*pair) for pair in pairs) if found is not None]
    return SideBySide(
        shared_users=len(users),
        shared_items=len(items),
        sampled_users=len(sampled),
        overlap=_mean([common_share(*pair) for pair in pairs]),
        rank_correlation=_mean(correlations),
        a=_side(a, lists_a, len(users), items),
        b=_side(b, lists_b, len(users), b.item_ids.shared_with(a.item_ids)),
    )


def spearman(one: list[str], other: list[str]) -> float | None:
    """The correlation of the places of the common items, -1 to 1; None where there are too few of them."""
    common = set(one) & set(other)
    n = len(common)
    if n < LEAST_COMMON:
        return None
    places = {item: place for place, item in enumerate(_only(other, common))}
    squares = sum((place - places[item]) ** 2 for place, item in enumerate(_only(one, common)))
    return 1 - 6 * squares / (n * (n * n - 1))


def _only(items: list[str], common: set[str]) -> Iterator[str]:
    return (item for item in items if item in common)


def _side(bundle: Bundle, lists: RecommendedLists, shared_users: int, shared_items: Array) -> Side:
    n_items = len(bundle.item_ids)
    alone = np.ones(n_items, bool)
    alone[shared_items] = False
    return Side(
        only_users=len(bundle.user_ids) - shared_users,
        only_items=np.flatnonzero(alone),
        shown_items=len(np.unique(lists.rows[lists.rows >= 0])),
        coverage=lists.coverage(n_items) if lists.rows.size else 0.0,
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
