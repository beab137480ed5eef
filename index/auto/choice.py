"""Decides which of the tried kinds of index is kept: the fastest that is good enough, within memory and time budgets.

index/auto/build.py builds and measures them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Generic, NamedTuple, TypeVar

from index.auto.tune import SLOWER
from index.errors import InputError
from index.manifest import TriedIndex

AUTO = "auto"
KEPT, BUILT = "kept", "built over all items"
GIB = 2**30
# An approximate index must be this much faster than the exact one, which misses nothing.
FASTER = 1.25
# A sample tells times roughly: a kind is left out where it is predicted to be this much slower than what was measured.
SLACK = 2.0
# Exact search takes three quarters of a millisecond from here on: 50,000 vectors of 64, 12,500 of 256
# (docs/search-index.md).
EXACT_NUMBERS = 3_200_000
SAMPLE_SHARE = 0.5  # of the time budget, at most, is spent on the sample

T = TypeVar("T")


@dataclass(frozen=True)
class AutoLimits:
    """What an index must reach to be kept.

    recall_floor: of recall@20. memory: GiB of the index's file. seconds: of the whole choice, builds included.
    Below `exact_below` items nothing is tried and the index is Flat; by default where the vectors hold fewer than
    EXACT_NUMBERS numbers. InputError where a limit is out of range.
    """

    recall_floor: float = 0.99
    memory: float = 4.0
    seconds: float = 900.0
    exact_below: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall_floor <= 1:
            raise InputError(f"the recall floor is {self.recall_floor}; expected more than 0 and at most 1")
        for name, value in (("memory", self.memory), ("seconds", self.seconds), ("exact_below", self.exact_below or 0)):
            if not value >= 0:  # NaN too
                raise InputError(f"the index's limit of {name} is {value}; expected at least 0")

    def smallest(self, d: int) -> int:
        """The number of items of d dimensions from which on kinds are tried."""
        return ceil(EXACT_NUMBERS / d) if self.exact_below is None else self.exact_below


class Predicted(NamedTuple):
    """What a kind would take over all items: ms of a search, seconds to build, bytes as a file; 0 where unknown."""

    ms: float = 0
    build_s: float = 0
    n_bytes: float = 0


_UNKNOWN, _NO_TIME = Predicted(), Predicted(build_s=inf)


@dataclass(frozen=True)
class Candidate:
    """A kind to build over all items; where it was tried on a sample, with what that predicts."""

    kind: str
    sampled: TriedIndex | None = None
    predicted: Predicted = _UNKNOWN

    @property
    def fault(self) -> str:
        """Why it is not built over all items; empty where it may be."""
        return "" if self.sampled is None else self.sampled.outcome

    def with_outcome(self, outcome: str) -> "Candidate":
        sampled = None if self.sampled is None else self.sampled.model_copy(update={"outcome": outcome})
        return replace(self, sampled=sampled)


@dataclass(frozen=True, eq=False)
class Attempt(Generic[T]):
    """An index over all items and what was measured; the outcome of `tried` is empty unless it rules the index out."""

    tried: TriedIndex
    index: T


@dataclass(frozen=True, eq=False)
class Choice(Generic[T]):
    """The index that is kept, what was tried, and why this one."""

    index: T
    kept: TriedIndex
    tried: tuple[TriedIndex, ...]
    why: str


def sample_kinds(
    kinds: Sequence[str],
    attempt: Callable[[str, float], Candidate],
    exact_ms: float,
    limits: AutoLimits,
    spent: Callable[[], float],
) -> list[Candidate]:
    """Try kinds on a sample: attempt(kind, most_ms) gives one up where over all items it would take more than most_ms.

    exact_ms: of exact search over all items. Kinds that there is no time for are no longer candidates to build.
    """
    found: list[Candidate] = []
    for kind in kinds:
        if spent() > SAMPLE_SHARE * limits.seconds:
            found.append(Candidate(kind, predicted=_NO_TIME))
            continue
        # Only measured times rule a kind out: one that a sample flatters may miss the floor over all items.
        one = attempt(kind, SLACK * exact_ms / FASTER)
        found.append(one.with_outcome(one.fault or _too_large(one.predicted.n_bytes, limits)))
    return found


def choose(
    exact: Attempt[T],
    candidates: Sequence[Candidate],
    attempt: Callable[[str, float], Attempt[T]],
    limits: AutoLimits,
    spent: Callable[[], float],
) -> Choice[T]:
    """Build candidates over all items and keep the fastest that is good enough, else the exact index.

    attempt(kind, most_ms) builds and tunes one. The quickest builds come first, so that a graph that takes all of the
    time has others before it. A kind is not built where it is predicted to take more than what is left of the time, or
    to be far slower than the best so far.
    """
    best, most_ms = exact, exact.tried.ms / FASTER
    sampled, built, late = list(candidates), [exact.tried], 0
    for place, one in sorted(enumerate(candidates), key=lambda numbered: numbered[1].predicted.build_s):
        fault = one.fault or _too_slow(one.predicted.ms, SLACK * most_ms)
        late_by = "" if fault else _too_late(one.predicted.build_s, limits.seconds - spent())
        late += bool(late_by)
        sampled[place] = one.with_outcome(fault or late_by or BUILT)
        if not fault and not late_by:
            found = _judged(attempt(one.kind, most_ms), limits, most_ms)
            built.append(found.tried)
            if not found.tried.outcome:
                best, most_ms = found, found.tried.ms
            del found  # its index's memory is needed for the next
    told = [one.sampled for one in sampled if one.sampled is not None]
    told += [tried.model_copy(update={"outcome": _final(tried, best.tried)}) for tried in built]
    return Choice(best.index, best.tried, tuple(told), _why(best.tried, exact.tried, len(candidates), late, limits))


def _judged(attempt: Attempt[T], limits: AutoLimits, most_ms: float) -> Attempt[T]:
    tried = attempt.tried
    fault = tried.outcome or _too_large(tried.bytes_per_item * tried.items, limits) or _too_slow(tried.ms, most_ms)
    return replace(attempt, tried=tried.model_copy(update={"outcome": fault}))


def _too_large(n_bytes: float, limits: AutoLimits) -> str:
    return f"too large: {n_bytes / GIB:.2f} GiB" if n_bytes > limits.memory * GIB else ""


def _too_slow(ms: float, most_ms: float) -> str:
    return SLOWER if ms > most_ms else ""


def _too_late(build_s: float, left: float) -> str:
    return f"not built: {build_s:.0f} s predicted, {max(left, 0):.0f} s left" if build_s > left else ""


def _final(tried: TriedIndex, kept: TriedIndex) -> str:
    return KEPT if tried is kept else tried.outcome or SLOWER


def _why(kept: TriedIndex, exact: TriedIndex, n_candidates: int, late: int, limits: AutoLimits) -> str:
    untried = f"; {late} of them not for lack of time" if late else ""
    within = f"recall@20 of {limits.recall_floor:g} within {limits.memory:g} GiB and {limits.seconds:g} s"
    of = f"{n_candidates} kinds tried{untried}"
    if kept.factory == exact.factory:
        return f"exact: none of {of} was {FASTER:g} times as fast with {within}"
    return f"{exact.ms / kept.ms:.1f} times as fast as exact search, the fastest of {of} with {within}"
