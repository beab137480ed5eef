"""What a fault did to callers, out of their answers; and whether that is within its limits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.load_summary import percentiles
from loadtests.rehearsal.background_load import READ, LoadResponse
from loadtests.shop_traffic import EVENT

STEP_S = 0.5  # callers' woe is looked at in such steps
SLOW_AT_LEAST_S = 0.25
SLOW_TIMES = 5.0  # the p99 before
SLOW_SHARE = 0.1  # of the reads in a step beyond which it is a bad one


@dataclass(frozen=True)
class FaultTimes:
    """Of one fault, in seconds of one clock."""

    watched: float  # from when on answers count as before
    begun: float
    mended: float  # the cause is gone: begun, where nobody but the system itself can mend it
    whole: float  # everything is as it was
    ended: float  # until when answers count as after


@dataclass(frozen=True)
class FaultLimits:
    """What a fault may do."""

    failures: int = 0
    refusals: int = 0  # events that are to be sent again
    whole_s: float = 30.0  # from when the cause is gone
    felt_s: float = 3.0  # from the beginning, by callers


@dataclass(frozen=True)
class CallerImpact:
    """What callers saw of one fault."""

    requests: int
    failures: int
    refusals: int
    p99_ms: tuple[float, float, float]  # of reads: before, during, after
    event_p99_ms: tuple[float, float, float]
    whole_s: float
    felt_s: float


def seen(answers: Sequence[LoadResponse], times: FaultTimes) -> CallerImpact:
    """The figures of one fault, out of the answers to what was due while it was watched."""
    phases = (
        within(answers, times.watched, times.begun),
        within(answers, times.begun, times.whole),
        within(answers, times.whole, times.ended),
    )
    during_and_after = phases[1] + phases[2]
    slow_s = max(SLOW_AT_LEAST_S, SLOW_TIMES * p99(phases[0], READ) / 1e3)
    return CallerImpact(
        requests=sum(len(phase) for phase in phases),
        failures=sum(not (one.good or one.refused) for phase in phases for one in phase),
        refusals=sum(one.refused for phase in phases for one in phase),
        p99_ms=(p99(phases[0], READ), p99(phases[1], READ), p99(phases[2], READ)),
        event_p99_ms=(p99(phases[0], EVENT), p99(phases[1], EVENT), p99(phases[2], EVENT)),
        whole_s=times.whole - times.mended,
        felt_s=felt_for(during_and_after, times.begun, slow_s),
    )


def within(answers: Iterable[LoadResponse], start: float, end: float) -> list[LoadResponse]:
    """Those that were due from start on and before the end."""
    return [one for one in answers if start <= one.due < end]


def p99(answers: Iterable[LoadResponse], kind: str) -> float:
    """In milliseconds, of the good ones of a kind; nan where there is none."""
    seconds = [one.seconds for one in answers if one.kind == kind and one.good]
    return float(percentiles(np.array(seconds), (99,))[0]) * 1e3 if seconds else float("nan")


def felt_for(answers: Sequence[LoadResponse], begun: float, slow_s: float) -> float:
    """Seconds from the beginning to the end of the last step in which something failed, was refused, or much was slow.

    0 where there is no such step. The steps begin at `begun`.
    """
    steps: dict[int, list[LoadResponse]] = {}
    for one in answers:
        steps.setdefault(int((one.due - begun) // STEP_S), []).append(one)
    bad = [step for step, some in steps.items() if _is_bad(some, slow_s)]
    return (max(bad) + 1) * STEP_S if bad else 0.0


def _is_bad(answers: Sequence[LoadResponse], slow_s: float) -> bool:
    reads = [one for one in answers if one.kind == READ]
    slow = sum(one.seconds > slow_s for one in reads)
    return any(not one.good for one in answers) or slow > SLOW_SHARE * len(reads)


def broken(found: CallerImpact, limits: FaultLimits, lost: int, doubled: int) -> list[str]:
    """Each limit that is broken: what was found, and what was expected."""
    checks = [
        ("failed requests", found.failures, limits.failures),
        ("refused events", found.refusals, limits.refusals),
        ("seconds until whole", found.whole_s, limits.whole_s),
        ("seconds that callers felt it", found.felt_s, limits.felt_s),
        ("acknowledged events lost", lost, 0),
        ("events doubled", doubled, 0),
    ]
    return [f"{what}: {found:g}, expected at most {most:g}" for what, found, most in checks if found > most]
