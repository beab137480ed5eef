"""How much of its features an item embedding keeps, and how near the parts of an item stand (docs/analysis.md)."""

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import combinations
from typing import Any, NamedTuple

import faiss
import numpy as np

from index.ranking import unit_rows
from trainer.nearest import nearest_items

Array = np.ndarray[Any, np.dtype[Any]]

TOP = 3
"""Neighbours of Fig. 5."""
COLLAPSE = "positional_collapse"
FIGURES = ("text_cosine", "image_cosine", COLLAPSE)
ALL_PAIRS = "all pairs"
ALL_UP_TO = 20_000
"""Items up to which the figures of a run are of all of them."""
SAMPLE = 5_000
"""Items drawn where there are more; their neighbours are sought among all."""

_ORDER = ("id", "text", "image", "multimodal")
_ROWS_AT_ONCE = 4096


def expressiveness(parts: Mapping[str, Array], features: Mapping[str, Array], seed: int) -> dict[str, float]:
    """The figures of one model; {} where embeddings are single numbers, which have no direction.

    Args:
        parts: (n_items, d) summands of the item embedding by name; a correction ("anchor") is no position of its own.
        features: (n_items, width) by modality.
        seed: decides every draw.
    """
    final, rng = reduce(np.add, parts.values()), np.random.default_rng(seed)
    if final.shape[1] == 1 or len(final) == 1:
        return {}
    rows = np.arange(len(final))
    if len(rows) > ALL_UP_TO:
        rows = np.sort(rng.choice(rows, SAMPLE, replace=False))
    near = _nearest_to(final, rows, TOP)
    cosines = {f"{m}_cosine": float(pair_cosines(features[m], near, rows).mean()) for m in features}
    found = collapses({name: parts[name][rows] for name in _ORDER if name in parts}, rng)
    ratio = list(found.values())[-1].ratio if found else None
    figures = cosines | ({} if ratio is None else {COLLAPSE: ratio})
    return {name: figures[name] for name in FIGURES if name in figures}


def nearest_others(vectors: Array, k: int) -> tuple[Array, Array]:
    """Each item's k nearest by cosine, itself left out, ties by lower row.

    Args:
        vectors: (n_items, width).
        k: at most n_items - 1 are returned.

    Returns:
        Item rows (n_items, k) int64 and cosines (n_items, k) float32, descending.
    """
    rows, cosines, _ = nearest_items(vectors, k + 1)
    return rows[:, 1:], cosines[:, 1:]


def _nearest_to(vectors: Array, rows: Array, k: int) -> Array:
    """(len(rows), k) as `nearest_others`, of some items."""
    if len(rows) == len(vectors):
        return nearest_others(vectors, k)[0]
    unit = unit_rows(vectors)
    _, near = faiss.knn(unit[rows], unit, k + 1, faiss.METRIC_INNER_PRODUCT)
    others = near != rows[:, None]
    others[others.all(axis=1), -1] = False  # items alike displace an item from its own list
    return np.asarray(near[others].reshape(len(rows), k))


def pair_cosines(features: Array, others: Array, rows: Array | None = None) -> Array:
    """Cosine of every item, or those of `rows` (m,), with each of its `others` (m, k): (m, k) float32.

    0 where a row is all zero.
    """
    rows = np.arange(len(others)) if rows is None else rows
    cosines = np.empty(others.shape, dtype=np.float32)
    for block in _blocks(np.arange(len(others))):
        items = unit_rows(np.asarray(features[rows[block]], dtype=np.float32))
        for rank, near in enumerate(others[block].T):
            theirs = unit_rows(np.asarray(features[near], dtype=np.float32))
            cosines[block, rank] = np.einsum("nd,nd->n", items, theirs)
    return cosines


class Collapse(NamedTuple):
    """How near an item's vectors of two spaces lie, against those of two random items."""

    same: float
    """Mean distance of the item's two unit vectors."""
    random: float
    """Mean distance of the vectors of two different items, one from each space."""

    @property
    def ratio(self) -> float | None:
        """0: both vectors of an item stand in one place; 1: no nearer than those of any two items."""
        return self.same / self.random if self.random > 0 else None


def collapses(spaces: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Collapse]:
    """Positional collapse of every pair of spaces and, where there are several pairs, of all: the last entry."""
    found = {f"{a} and {b}": collapse(spaces[a], spaces[b], rng) for a, b in combinations(spaces, 2)}
    if len(found) > 1:
        same, random = (float(np.mean(values)) for values in zip(*found.values(), strict=True))
        found[ALL_PAIRS] = Collapse(same, random)
    return found


def collapse(one: Array, other: Array, rng: np.random.Generator, n_random: int = 100_000) -> Collapse:
    """Positional collapse of two spaces of the same width, rows scaled to length 1.

    Args:
        one, other: (n_items, d); row i of both belongs to item i.
        rng: draws the random pairs.
        n_random: how many of them.
    """
    one, other = unit_rows(one), unit_rows(other)
    items = np.arange(len(one))
    drawn = rng.integers(len(one), size=n_random)
    different = (drawn + rng.integers(1, len(one), size=n_random)) % len(one)
    return Collapse(_mean_distance(one, other, items, items), _mean_distance(one, other, drawn, different))


def _mean_distance(one: Array, other: Array, rows: Array, other_rows: Array) -> float:
    total = sum(
        float(np.linalg.norm(one[mine] - other[theirs], axis=1).sum(dtype=np.float64))
        for mine, theirs in zip(_blocks(rows), _blocks(other_rows), strict=True)
    )
    return total / len(rows)


def _blocks(rows: Array) -> Iterator[Array]:
    return (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
