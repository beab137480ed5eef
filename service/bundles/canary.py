"""Judges a bundle by its answers, compared with those of others: the bundle before, the control of an experiment.

Compared are requests of one kind, as a changed mix of requests is no fault of a bundle. No single caller decides: the
caller whose answers speak most against the bundle is left out, and so is the one whose answers speak most for it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

from service.bundles.traffic import Kind, Traffic
from service.settings import BundleSettings

SLOW_SHARE = 0.01  # of the answers may be slow: a limit of the p99
OWN_BASELINE = 20  # answers of a reference from which a caller's own p99 is a measure
CALLERS_BASELINE = 10  # callers of a reference whose p99s together are one
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
class Limits:
    """Beyond which a bundle's answers are bad; None: they are not judged by that."""

    max_error_share: float | None  # of the answers may be failures
    max_p99_ratio: float | None  # an answer may take so many times the reference's p99
    max_p99_ms: float  # up to which no answer is slow
    min_requests: int  # those of the callers that are left out not counted
    reference: str = "the bundle before"  # as reasons name it


def watch_limits(settings: BundleSettings) -> Limits:
    """The limits of a newly published bundle."""
    return Limits(
        max_error_share=settings.watch_max_error_share,
        max_p99_ratio=settings.watch_max_p99_ratio,
        max_p99_ms=settings.watch_max_p99_ms,
        min_requests=settings.watch_min_requests,
    )


@dataclass(frozen=True)
class Verdict:
    """What the answers say about a bundle."""

    reason: str = ""  # why it must not serve; empty: it may stay, or too little is known
    suspicion: str = ""  # what the answers to some callers say, which is to be verified
    slow: bool = False  # that answers take long, not that they fail


def judge(new: Traffic, references: Sequence[Traffic], limits: Limits) -> Verdict:
    """Compare a bundle's answers with those of the references: as bad or as slow as one of them is not worse."""
    failing, slow = _judge_faults(new, references, limits), _judge_slow(new, references, limits)
    return next((one for one in (failing, slow) if one.reason), failing if failing.suspicion else slow)


def _judge_faults(new: Traffic, references: Sequence[Traffic], limits: Limits) -> Verdict:
    most, least = limits.max_error_share, limits.min_requests
    if most is None:
        return Verdict()
    failed = _faults(new, {kind for reference in references for kind in _failing_kinds(reference, most)})
    independent = without_extremes(failed.values(), most)
    if independent.answers >= least and independent.least_share > most:
        return Verdict(_failed(independent, most))
    total = _total(failed.values())
    if total.answers >= least and any(count.excess(most) > 0 for count in failed.values()):
        return Verdict(suspicion=_failed(total, most))
    return Verdict()


def _judge_slow(new: Traffic, references: Sequence[Traffic], limits: Limits) -> Verdict:
    ratio, least = limits.max_p99_ratio, limits.min_requests
    if ratio is None:
        return Verdict()
    slow = _slow(new, references, limits.max_p99_ms / 1000, ratio)

    def say(count: Count) -> str:
        return (
            f"{count.share:.1%} of {count.answers} requests took longer than {limits.max_p99_ms:g} ms and "
            f"{ratio:g} times the p99 of {limits.reference}, limit {SLOW_SHARE:.1%}"
        )

    independent, total = without_extremes(slow.values(), SLOW_SHARE), _total(slow.values())
    if independent.answers >= least and independent.least_share > SLOW_SHARE:
        return Verdict(say(independent), slow=True)
    if total.answers >= least and total.least_share > SLOW_SHARE:
        return Verdict(suspicion=say(total), slow=True)
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


def _failing_kinds(reference: Traffic, limit: float) -> set[Kind]:
    """The kinds of requests that the reference failed, too."""
    by_kind: dict[Kind, list[Count]] = defaultdict(list)
    for kind, _, tally in reference.tallies():
        by_kind[kind].append(Count(tally.answers, tally.faults))
    return {kind for kind, counts in by_kind.items() if without_extremes(counts, limit).share > limit}


def _faults(new: Traffic, left_out: set[Kind]) -> ByCaller:
    by_caller: dict[str, Count] = defaultdict(Count)
    for kind, caller, tally in new.tallies():
        if kind not in left_out:
            by_caller[caller] = by_caller[caller].plus(Count(tally.answers, tally.faults))
    return by_caller


def _slow(new: Traffic, references: Sequence[Traffic], fast_s: float, ratio: float) -> ByCaller:
    """The slow answers by caller, among requests of kinds that a reference answered often enough."""
    baselines = [_Baselines(reference) for reference in references]
    by_caller: dict[str, Count] = defaultdict(Count)
    for kind, caller, tally in new.tallies():
        known = [p99_s for one in baselines if (p99_s := one.p99_s(kind, caller)) is not None]
        if known:
            slow = tally.slower_than(max(fast_s, ratio * max(known)))
            by_caller[caller] = by_caller[caller].plus(Count(tally.answers, slow))
    return by_caller


class _Baselines:
    """The p99 durations of a reference."""

    def __init__(self, reference: Traffic) -> None:
        self._own: dict[tuple[Kind, str], float] = {}
        self._of_callers: dict[Kind, list[float]] = defaultdict(list)
        for kind, caller, tally in reference.tallies():
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
