"""Chooses what an interaction adds to a user, so that users of whom training knew nothing have vectors too.

fold_in = item vectors @ map, where the map (d, d) makes the sums over users' items as near to the given user vectors as
a ridge regression can. What the sums miss of a user is the user's own term.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from index.foreign.interactions import Histories
from index.invariants import fold_in_sums

Array = np.ndarray[Any, Any]

PENALTY = 0.003  # of the ridge regression, relative to the mean square of a direction
HELD_OUT = 5  # one user of so many tells how well fold-in does for users that it was not fitted to
TINY = float(np.finfo(np.float32).tiny)
_USERS_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class Folding:
    """What an interaction adds, and how much of the given users' scores the sums of it give."""

    fold_in: Array  # (n_items, d) float32
    method: str  # in words
    explains: float | None = None  # share of the mean square of the scores of users with vectors
    explains_new: float | None = None  # the same of users that the regression was not fitted to


def of_item_vectors(items: Array) -> Folding:
    """Users are sums of their items' vectors, divided by the root of their number."""
    return Folding(items, "item vectors")


def fitted(items: Array, users: Array, seen: Histories) -> Folding:
    """The fold-in whose sums are nearest to these users (n, d), who are the first n of `seen`."""
    n, d = users.shape
    has_past = np.diff(seen.offsets[: n + 1]) > 0
    if not has_past.any():
        scale = _norm(users) / max(_norm(items), TINY)
        return Folding((items * scale).astype(np.float32), "item vectors, scaled to the users")
    held_out = has_past & (np.arange(n) % HELD_OUT == 0)
    of_held_out, of_others = _Products(d), _Products(d)
    for start in range(0, n, _USERS_AT_ONCE):
        part = slice(start, min(start + _USERS_AT_ONCE, n))
        sums = fold_in_sums(items, seen.offsets[part.start : part.stop + 1], seen.items)
        of_held_out.add(sums, users[part], held_out[part])
        of_others.add(sums, users[part], (has_past & ~held_out)[part])
    squares = items.T.astype(np.float64) @ items  # (d, d): the sum of squares of a vector's scores, as a form
    both = of_held_out.plus(of_others)
    found = both.ridge()
    explains_new = None
    if of_held_out.n and of_others.n:
        explains_new = of_held_out.explained_by(of_others.ridge(), squares)
    explains = both.explained_by(found, squares)
    return Folding((items @ found).astype(np.float32), "ridge regression", explains, explains_new)


class _Products:
    """Of some users' vectors and the sums over their items, all products that a regression and its error need."""

    def __init__(self, d: int) -> None:
        self.n = 0
        self.sums, self.both, self.users = np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d))

    def add(self, sums: Array, users: Array, chosen: Array) -> None:
        """Add the chosen ones of these users (m, d)."""
        some, given = sums[chosen], users[chosen].astype(np.float64)
        self.n += len(some)
        self.sums += some.T @ some
        self.both += some.T @ given
        self.users += given.T @ given

    def plus(self, other: "_Products") -> "_Products":
        """Those of both groups of users."""
        both = _Products(len(self.sums))
        both.n, both.sums = self.n + other.n, self.sums + other.sums
        both.both, both.users = self.both + other.both, self.users + other.users
        return both

    def ridge(self) -> Array:
        """The map (d, d) from sums to vectors."""
        d = len(self.sums)
        penalty = max(PENALTY * float(np.trace(self.sums)) / d, TINY)
        solved: Array = np.linalg.solve(self.sums + penalty * np.eye(d), self.both)
        return solved

    def explained_by(self, found: Array, squares: Array) -> float:
        """1 - the mean square of what the map misses of the users' scores of all items, over that of the scores."""
        missed = self.users - found.T @ self.both - self.both.T @ found + found.T @ self.sums @ found
        whole = float(np.sum(squares * self.users))
        return max(0.0, 1 - float(np.sum(squares * missed)) / whole) if whole > 0 else 0.0


def _norm(rows: Array) -> float:
    return float(np.linalg.norm(rows, axis=1).mean())
