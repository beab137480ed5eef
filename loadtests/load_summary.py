"""Measurements become figures: rates, ratios, percentiles, CPU, and who was the limit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

Array = np.ndarray[Any, Any]

PERCENTILES = (50, 95, 99)
BUSY = 0.85  # of a core; where neither side is, somebody else had a share of the machine
SERVER = "the server"


@dataclass(frozen=True)
class LoadMeasurement:
    """One kind of request, asked for a while."""

    latencies: Array  # seconds, of the good answers
    failures: int
    seconds: float
    server_cpu: float  # seconds of CPU
    client_cpu: float  # seconds of CPU, without those in which it only waited
    redis_reads: float  # vectors that the service asked of Redis
    redis_hits: float  # and how many of them it had
    cached: int = 0  # answers that the service had made before

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def server_busy(self) -> float:
        """Share of one core."""
        return self.server_cpu / self.seconds

    @property
    def p99_ms(self) -> float:
        """Milliseconds that 99% of the good answers did not exceed."""
        return float(percentiles(self.latencies, (99,))[0]) * 1e3


@dataclass(frozen=True)
class BaselineRatio:
    """Rates over the yardstick's rate in the same round: median and extremes of the rounds."""

    median: float
    low: float
    high: float
    by_cpu: float  # the yardstick's CPU a request over ours: hardly moved by who else uses the machine


@dataclass(frozen=True)
class LoadSummary:
    """What the measurements of one kind of request come to."""

    requests: int
    failures: int
    requests_per_second: float  # median of the rounds
    to_baseline: BaselineRatio | None  # none where the rate was given, and not found
    p50_ms: float  # percentiles of all rounds together
    p95_ms: float
    p99_ms: float
    p99_of_rounds_ms: tuple[float, float, float]  # low, median, high: somebody else's burst of work is in one of them
    server_cpu_us: float  # a request
    server_busy: float  # share of one core
    client_busy: float
    redis_hits: float | None  # share; none where Redis was not asked
    cached: float  # share of answers that the service had made before

    @property
    def limit(self) -> str:
        """What kept a closed loop from being quicker."""
        if max(self.server_busy, self.client_busy) < BUSY:
            return "others on this machine"
        return "the client" if self.client_busy > self.server_busy else SERVER


def summarize(rounds: Sequence[LoadMeasurement], baseline: Sequence[LoadMeasurement] = ()) -> LoadSummary:
    """The figures of one kind of request, beside the yardstick's of the same rounds where they are given."""
    latencies = np.concatenate([one.latencies for one in rounds])
    seconds, reads = sum(one.seconds for one in rounds), sum(one.redis_reads for one in rounds)
    p50, p95, p99 = percentiles(latencies, PERCENTILES) * 1e3
    return LoadSummary(
        requests=len(latencies),
        failures=sum(one.failures for one in rounds),
        requests_per_second=float(np.median([one.rate for one in rounds])),
        to_baseline=_ratio(rounds, baseline) if baseline else None,
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        p99_of_rounds_ms=_spread([one.p99_ms for one in rounds]),
        server_cpu_us=_cpu_us(rounds),
        server_busy=sum(one.server_cpu for one in rounds) / seconds,
        client_busy=sum(one.client_cpu for one in rounds) / seconds,
        redis_hits=sum(one.redis_hits for one in rounds) / reads if reads else None,
        cached=sum(one.cached for one in rounds) / len(latencies),
    )


def _ratio(rounds: Sequence[LoadMeasurement], baseline: Sequence[LoadMeasurement]) -> BaselineRatio:
    ratios = [mine.rate / empty.rate for mine, empty in zip(rounds, baseline, strict=True)]
    return BaselineRatio(float(np.median(ratios)), min(ratios), max(ratios), _cpu_us(baseline) / _cpu_us(rounds))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), float(np.median(values)), max(values)


def _cpu_us(rounds: Sequence[LoadMeasurement]) -> float:
    return 1e6 * sum(one.server_cpu for one in rounds) / sum(len(one.latencies) for one in rounds)


def percentiles(values: Array, percents: Sequence[float]) -> Array:
    """For each percent the smallest of the values that so many of them do not exceed (nearest rank)."""
    found: Array = np.percentile(values, percents, method="inverted_cdf")
    return found


def summary_table(
    figures: Mapping[str, LoadSummary],
    *,
    title: str,
    absent: Iterable[str] = (),
    steady: Mapping[str, tuple[int, int]] | None = None,
) -> Table:
    """One row a kind of request, and one for each that could not be measured.

    `steady`, of each kind how many rounds of how many were, adds that and the p99 of the rounds.
    """
    asked = ("requests/s", "ratio", "low..high", "by CPU", "p50 ms", "p95 ms", "p99 ms", "CPU us")
    beside = ("server", "client", "Redis hits", "kept", "failed")
    table = Table("request", title=title, title_justify="left")
    for heading in (*asked, *beside, *(["p99 of rounds", "steady"] if steady else [])):
        table.add_column(heading, justify="right")
    for name, one in figures.items():
        table.add_row(name, *_cells(one), *(_round_cells(one, steady[name]) if steady else ()))
    for name in absent:
        table.add_row(name, "does not run")
    return table


def _cells(one: LoadSummary) -> list[str]:
    ratio = one.to_baseline
    return [
        f"{one.requests_per_second:,.0f}",
        *(("", "", "") if ratio is None else _ratio_cells(ratio)),
        *(f"{ms:.2f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms)),
        f"{one.server_cpu_us:.0f}",
        f"{one.server_busy:.0%}",
        f"{one.client_busy:.0%}",
        "" if one.redis_hits is None else f"{one.redis_hits:.0%}",
        f"{one.cached:.0%}" if one.cached else "",
        str(one.failures),
    ]


def _round_cells(one: LoadSummary, steady: tuple[int, int]) -> tuple[str, str]:
    return "{1:.1f} ({0:.1f}..{2:.1f})".format(*one.p99_of_rounds_ms), "{} of {}".format(*steady)


def _ratio_cells(ratio: BaselineRatio) -> tuple[str, str, str]:
    return f"{ratio.median:.2f}", f"{ratio.low:.2f}..{ratio.high:.2f}", f"{ratio.by_cpu:.2f}"


def caveats(figures: Mapping[str, LoadSummary]) -> list[str]:
    """A line for each limit of a closed loop that was not the server."""
    limited: dict[str, list[str]] = {}
    for name, one in figures.items():
        limited.setdefault(one.limit, []).append(name)
    return [f"limited by {limit}: {', '.join(names)}" for limit, names in limited.items() if limit != SERVER]


def as_record(figures: Mapping[str, LoadSummary]) -> dict[str, dict[str, Any]]:
    """The same for programs, rounded to what a timing is worth."""
    return {name: _rounded(asdict(one)) for name, one in figures.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
