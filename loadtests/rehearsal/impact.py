"""The impact of a fault on callers, computed from the responses, and the limits on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.load_summary import percentiles
from loadtests.rehearsal.background_load import READ, LoadResponse
from loadtests.shop_traffic import EVENT

STEP_S = 0.5  # the impact is judged in steps of this length
SLOW_AT_LEAST_S = 0.25
SLOW_TIMES = 5.0  # the p99 before
SLOW_SHARE = 0.1  # a step is bad when more of its reads are slow


@dataclass(frozen=True)
class FaultTimes:
    """The phases of one fault, in seconds of one clock."""

    watched: float  # responses count as "before" from here
    begun: float
    cause_removed: float  # the cause is removed; equal to `begun` where only the system itself can recover
    recovered: float  # the deployment is healthy again
    ended: float  # responses count as "after" until here


@dataclass(frozen=True)
class FaultLimits:
    """The limits on the impact of a fault."""

    failures: int = 0
    refusals: int = 0  # events that must be sent again
    whole_s: float = 30.0  # from when the cause is removed
    felt_s: float = 3.0  # from the beginning, by callers


@dataclass(frozen=True)
class CallerImpact:
    """What callers noticed of one fault."""

    requests: int
    failures: int
    refusals: int
    p99_ms: tuple[float, float, float]  # of reads: before, during, after
    event_p99_ms: tuple[float, float, float]
    whole_s: float
    felt_s: float


def caller_impact(responses: Sequence[LoadResponse], times: FaultTimes) -> CallerImpact:
    """Compute the impact of one fault from the responses to requests that were due in its phases."""
    phases = (
        due_between(responses, times.watched, times.begun),
        due_between(responses, times.begun, times.recovered),
        due_between(responses, times.recovered, times.ended),
    )
    during_and_after = phases[1] + phases[2]
    slow_s = max(SLOW_AT_LEAST_S, SLOW_TIMES * p99(phases[0], READ) / 1e3)
    return CallerImpact(
        requests=sum(len(phase) for phase in phases),
        failures=sum(not (one.good or one.refused) for phase in phases for one in phase),
        refusals=sum(one.refused for phase in phases for one in phase),
        p99_ms=(p99(phases[0], READ), p99(phases[1], READ), p99(phases[2], READ)),
        event_p99_ms=(p99(phases[0], EVENT), p99(phases[1], EVENT), p99(phases[2], EVENT)),
        whole_s=times.recovered - times.cause_removed,
        felt_s=felt_for(during_and_after, times.begun, slow_s),
    )


def due_between(responses: Iterable[LoadResponse], start: float, end: float) -> list[LoadResponse]:
    """Return the responses to requests that were due from `start` on and before `end`."""
    return [one for one in responses if start <= one.due < end]


def p99(responses: Iterable[LoadResponse], kind: str) -> float:
    """Return the p99 in milliseconds of the successful responses of a kind; nan where there is none."""
    seconds = [one.seconds for one in responses if one.kind == kind and one.good]
    return float(percentiles(np.array(seconds), (99,))[0]) * 1e3 if seconds else float("nan")


def felt_for(responses: Sequence[LoadResponse], begun: float, slow_s: float) -> float:
    """Return the seconds from `begun` to the end of the last bad step; 0 where no step is bad.

    A step is bad where a request failed, an event was refused, or many reads were slow. Steps are counted from `begun`.
    """
    steps: dict[int, list[LoadResponse]] = {}
    for one in responses:
        steps.setdefault(int((one.due - begun) // STEP_S), []).append(one)
    bad = [step for step, some in steps.items() if _is_bad(some, slow_s)]
    return (max(bad) + 1) * STEP_S if bad else 0.0


def _is_bad(responses: Sequence[LoadResponse], slow_s: float) -> bool:
    reads = [one for one in responses if one.kind == READ]
    slow = sum(one.seconds > slow_s for one in reads)
    return any(not one.good for one in responses) or slow > SLOW_SHARE * len(reads)


def exceeded(impact: CallerImpact, limits: FaultLimits, lost: int, doubled: int) -> list[str]:
    """Return a line for each exceeded limit, with what was found and what was expected."""
    checks = [
        ("failed requests", impact.failures, limits.failures),
        ("refused events", impact.refusals, limits.refusals),
        ("seconds until recovery", impact.whole_s, limits.whole_s),
        ("seconds of impact on callers", impact.felt_s, limits.felt_s),
        ("acknowledged events lost", lost, 0),
        ("events doubled", doubled, 0),
    ]
    return [f"{what}: {found:g}, expected at most {most:g}" for what, found, most in checks if found > most]
