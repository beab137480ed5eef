"""Judges a new bundle by its answers, compared with those of the bundle before.

Compared are requests of one kind, as a changed mix of requests is no fault of a bundle. No single caller decides: the
caller whose answers speak most against the bundle is left out, and so is the one whose answers speak most for it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

from service.bundles.traffic import Kind, Traffic
from service.settings import BundleSettings

SLOW_SHARE = 0.01  # of the answers may be slow: a limit of the p99
OWN_BASELINE = 20  # answers of the bundle before from which a caller's own p99 is a measure
CALLERS_BASELINE = 10  # callers of the bundle before whose p99s together are one
CALLERS_QUANTILE = 0.9
Z = NormalDist().inv_cdf(0.99)  # a share is above its limit where chance explains it in fewer cases than one of 100


class Count(NamedTuple):
    """Answers, and how many of them are bad."""

    answers: int = 0
    bad: int = 0

    def plus(self, other: "Count") -> "Count":
        return Count(self.answers + other.answers, self.bad + other.bad)

    def excess(self, limit: float) -> float:
        """How many more answers are bad than the limit allows."""
        return self.bad - limit * self.answers

    @property
    def share(self) -> float:
        return self.bad / self.answers if self.answers else 0.0

    @property
    def least_share(self) -> float:
        """The lower end of Wilson's interval of the share."""
        if not self.bad:
            return 0.0
        square = Z * Z / self.answers
        spread = Z * sqrt((self.share * (1 - self.share) + square / 4) / self.answers)
        return (self.share + square / 2 - spread) / (1 + square)


ByCaller = Mapping[str, Count]


@dataclass(frozen=True)
class Verdict:
    """What the answers say about a new bundle."""

    reason: str = ""  # why it must be rolled back; empty: it may stay, or too little is known
    suspicion: str = ""  # what some callers' failed requests say, which is to be verified


def judge(new: Traffic, old: Traffic, settings: BundleSettings) -> Verdict:
    """Compare a new bundle's answers with those of the bundle before."""
    limit, least = settings.watch_max_error_share, settings.watch_min_requests
    failed = _faults(new, _failing_kinds(old, limit))
    independent = without_extremes(failed.values(), limit)
    if independent.answers >= least and independent.least_share > limit:
        return Verdict(_failed(independent, limit))
    slow = without_extremes(_slow(new, old, settings).values(), SLOW_SHARE)
    if slow.answers >= least and slow.least_share > SLOW_SHARE:
        return Verdict(
            f"{slow.share:.1%} of {slow.answers} requests took longer than {settings.watch_max_p99_ms:g} ms and "
            f"{settings.watch_max_p99_ratio:g} times the p99 of the bundle before, limit {SLOW_SHARE:.1%}"
        )
    all_failed = _total(failed.values())
    if all_failed.answers >= least and any(count.excess(limit) > 0 for count in failed.values()):
        return Verdict(suspicion=_failed(all_failed, limit))
    return Verdict()


def _failed(count: Count, limit: float) -> str:
    return f"{count.share:.1%} of {count.answers} requests failed, limit {limit:.1%}"


def without_extremes(counts: Collection[Count], limit: float) -> Count:
    """The sum without the caller that speaks most against the bundle, and then without the one that speaks most for it.

    The last one that remains is not left out for speaking for the bundle.
    """
    ascending = sorted(counts, key=lambda count: count.excess(limit))[:-1]
    if len(ascending) > 1 and ascending[0].excess(limit) < 0:
        del ascending[0]
    return _total(ascending)


def _total(counts: Iterable[Count]) -> Count:
    total = Count()
    for count in counts:
        total = total.plus(count)
    return total


def _failing_kinds(old: Traffic, limit: float) -> set[Kind]:
    """The kinds of requests that failed before, too."""
    by_kind: dict[Kind, list[Count]] = defaultdict(list)
    for kind, _, tally in old.tallies():
        by_kind[kind].append(Count(tally.answers, tally.faults))
    return {kind for kind, counts in by_kind.items() if without_extremes(counts, limit).share > limit}


def _faults(new: Traffic, left_out: set[Kind]) -> ByCaller:
    by_caller: dict[str, Count] = defaultdict(Count)
    for kind, caller, tally in new.tallies():
        if kind not in left_out:
            by_caller[caller] = by_caller[caller].plus(Count(tally.answers, tally.faults))
    return by_caller


def _slow(new: Traffic, old: Traffic, settings: BundleSettings) -> ByCaller:
    """The slow answers by caller, among requests of kinds that the bundle before answered often enough."""
    baselines = _Baselines(old)
    by_caller: dict[str, Count] = defaultdict(Count)
    for kind, caller, tally in new.tallies():
        baseline_s = baselines.p99_s(kind, caller)
        if baseline_s is not None:
            limit_s = max(settings.watch_max_p99_ms / 1000, settings.watch_max_p99_ratio * baseline_s)
            by_caller[caller] = by_caller[caller].plus(Count(tally.answers, tally.slower_than(limit_s)))
    return by_caller


class _Baselines:
    """The p99 durations of the bundle before."""

    def __init__(self, old: Traffic) -> None:
        self._own: dict[tuple[Kind, str], float] = {}
        self._of_callers: dict[Kind, list[float]] = defaultdict(list)
        for kind, caller, tally in old.tallies():
            if tally.answers >= OWN_BASELINE:
                self._own[kind, caller] = tally.p99_s
            self._of_callers[kind].append(tally.p99_s)
        for seconds in self._of_callers.values():
            seconds.sort()

    def p99_s(self, kind: Kind, caller: str) -> float | None:
        """The caller's own p99, else that of most callers; None where too little is known."""
        own = self._own.get((kind, caller))
        if own is not None:
            return own
        others = self._of_callers.get(kind, [])
        return others[int(CALLERS_QUANTILE * len(others))] if len(others) >= CALLERS_BASELINE else None
