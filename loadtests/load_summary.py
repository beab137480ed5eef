"""Summaries of load measurements: rates, ratios to the baseline, latency percentiles, CPU, and the bottleneck."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

Array = np.ndarray[Any, Any]

PERCENTILES = (50, 95, 99)
BUSY = 0.85  # of a core; where neither side reaches it, other processes used the machine
SERVER = "the server"
JSON_NAMES = {"to_baseline": "to_yardstick", "cached": "kept"}  # programs read these fields under older names


@dataclass(frozen=True)
class LoadMeasurement:
    """One run of one workload."""

    latencies: Array  # seconds, of successful requests
    failures: int
    seconds: float
    server_cpu: float  # seconds of CPU
    client_cpu: float  # seconds of CPU, without polling
    redis_reads: float  # vectors that the service read from Redis
    redis_hits: float
    cached: int = 0  # responses from the service's response cache

    @property
    def rate(self) -> float:
        """Successful requests per second."""
        return len(self.latencies) / self.seconds

    @property
    def server_busy(self) -> float:
        """Share of one core that the server used."""
        return self.server_cpu / self.seconds

    @property
    def p99_ms(self) -> float:
        """99th percentile of the latency of successful requests, in milliseconds."""
        return float(percentiles(self.latencies, (99,))[0]) * 1e3


@dataclass(frozen=True)
class BaselineRatio:
    """Rates divided by the baseline's rate in the same round: median and extremes of the rounds."""

    median: float
    low: float
    high: float
    by_cpu: float  # the baseline's CPU per request over ours; other processes on the machine hardly change it


@dataclass(frozen=True)
class LoadSummary:
    """The measurements of all rounds of one workload, summarized."""

    requests: int
    failures: int
    requests_per_second: float  # median of the rounds
    to_baseline: BaselineRatio | None  # none for open arrivals, whose rate is given
    p50_ms: float  # percentiles of all rounds together
    p95_ms: float
    p99_ms: float
    p99_of_rounds_ms: tuple[float, float, float]  # low, median, high: a burst of other work shows in one of them
    server_cpu_us: float  # per request
    server_busy: float  # share of one core
    client_busy: float
    redis_hits: float | None  # share; none where Redis received no reads
    cached: float  # share of responses from the service's response cache

    @property
    def limit(self) -> str:
        """The bottleneck of a closed loop."""
        if max(self.server_busy, self.client_busy) < BUSY:
            return "others on this machine"
        return "the client" if self.client_busy > self.server_busy else SERVER


def summarize(rounds: Sequence[LoadMeasurement], baseline: Sequence[LoadMeasurement] = ()) -> LoadSummary:
    """Summarize the rounds of one workload, with the ratio to the baseline's same rounds where they are given."""
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
    ratios = [ours.rate / empty.rate for ours, empty in zip(rounds, baseline, strict=True)]
    return BaselineRatio(float(np.median(ratios)), min(ratios), max(ratios), _cpu_us(baseline) / _cpu_us(rounds))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), float(np.median(values)), max(values)


def _cpu_us(rounds: Sequence[LoadMeasurement]) -> float:
    return 1e6 * sum(one.server_cpu for one in rounds) / sum(len(one.latencies) for one in rounds)


def percentiles(values: Array, percents: Sequence[float]) -> Array:
    """Return nearest-rank percentiles: the smallest value that so many percent do not exceed."""
    found: Array = np.percentile(values, percents, method="inverted_cdf")
    return found


def summary_table(
    summaries: Mapping[str, LoadSummary],
    *,
    title: str,
    absent: Iterable[str] = (),
    steady: Mapping[str, tuple[int, int]] | None = None,
) -> Table:
    """Return a table with one row per workload, and one for each that could not be measured.

    `steady` (steady rounds, all rounds) adds two columns: that count, and the p99 of the rounds.
    """
    timings = ("requests/s", "ratio", "low..high", "by CPU", "p50 ms", "p95 ms", "p99 ms", "CPU us")
    resources = ("server", "client", "Redis hits", "cached", "failed")
    table = Table("request", title=title, title_justify="left")
    for heading in (*timings, *resources, *(["p99 of rounds", "steady"] if steady else [])):
        table.add_column(heading, justify="right")
    for name, one in summaries.items():
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


def caveats(summaries: Mapping[str, LoadSummary]) -> list[str]:
    """Return a line for each bottleneck of a closed loop that was not the server."""
    limited: dict[str, list[str]] = {}
    for name, one in summaries.items():
        limited.setdefault(one.limit, []).append(name)
    return [f"limited by {limit}: {', '.join(names)}" for limit, names in limited.items() if limit != SERVER]


def as_record(summaries: Mapping[str, LoadSummary]) -> dict[str, dict[str, Any]]:
    """Return the summaries as JSON objects, with rounded numbers."""
    return {
        name: {JSON_NAMES.get(field, field): _rounded(value) for field, value in asdict(one).items()}
        for name, one in summaries.items()
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
