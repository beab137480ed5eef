"""`python -m loadtests.slo`: the highest rate at which p99 stays under its limit, compared with an empty endpoint."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.processes import end_by_signals
from index.cli import command_line, run_cli
from loadtests.baseline_app import PATH
from loadtests.bench_servers import BASELINE, SHIPPED, UNCACHED, BenchKey, available_cores, running
from loadtests.benchmark import Benchmark, Pace
from loadtests.load_summary import LoadMeasurement, LoadSummary, as_record, summarize
from loadtests.max_rate import RateBracket, find_max_rate
from loadtests.random_bundle import RandomBundleSizes, publish_random
from loadtests.shop_traffic import requests
from loadtests.workloads import Workload, raw, workload

CONFIRM_ROUNDS = 3  # measurements at the rate found; the workloads take turns
MOST_STEPS_DOWN = 12  # after which the machine is too unsteady for a measurement
FIRST, MOST = 200.0, 20_000.0  # requests a second
SETTLING = 30  # requests at least: half a second may by chance have no arrival
CYCLE = 50_000  # requests of the mix, before they repeat
SHOP, SHOP_UNCACHED = "shop", "shop, uncached"

app = command_line()


@dataclass(frozen=True)
class Objective:
    """The limits on p99 and failures, and how they are measured."""

    p99_ms: float
    failures: float  # share
    seconds: float
    connections: int
    tolerance: float
    samples: int
    settling_s: float = 0.5  # at each new rate, before the measurement

    def holds_for(self, one: LoadSummary) -> bool:
        """Return whether all measurements of this summary, taken together, are within the limits."""
        return one.p99_ms <= self.p99_ms and one.failures <= self.failures * (one.failures + one.requests)

    def limit_ratio(self, one: LoadMeasurement) -> float:
        """Return p99 divided by its limit; infinite where more requests failed than allowed."""
        if one.failures > self.failures * (one.failures + len(one.latencies)):
            return math.inf
        return one.p99_ms / self.p99_ms


@dataclass
class RateSearch:
    """The search for the maximum rate of one workload, with all measurements made for it."""

    benchmark: Benchmark
    workload: Workload
    objective: Objective
    rng: np.random.Generator
    progress: Progress
    measured: dict[float, list[LoadMeasurement]] = field(default_factory=dict)

    def find(self) -> RateBracket:
        """Search from a rate that every service can handle."""
        return find_max_rate(self.limit_ratio, first=FIRST, tolerance=self.objective.tolerance, most=MOST)

    def limit_ratio(self, rate: float) -> float:
        """Measure at this rate, print a line, and return p99 divided by its limit."""
        self._arrivals(rate, max(self.objective.settling_s, SETTLING / rate))
        one = self._arrivals(rate, max(self.objective.seconds, self.objective.samples / rate))
        self.measured.setdefault(rate, []).append(one)
        ratio = self.objective.limit_ratio(one)
        outcome = f"p99 {one.p99_ms:.1f} ms, {one.failures} failed: {'holds' if ratio <= 1 else 'breaks'}"
        self.progress.console.print(f"{self.workload.name}, {rate:,.0f} a second: {outcome}", highlight=False)
        return ratio

    def limited_by(self, bracket: RateBracket) -> str:
        """Return the bottleneck at the lowest rate that broke the limits."""
        if bracket.broke is None:
            return f"the search itself: {MOST:,.0f} a second held"
        broke = self.measured[bracket.broke]
        if sum(math.isinf(self.objective.limit_ratio(one)) for one in broke) * 2 > len(broke):
            return "failures"
        return summarize(broke).limit

    def _arrivals(self, rate: float, seconds: float) -> LoadMeasurement:
        return self.benchmark.open_once(self.workload, rate, seconds, self.objective.connections, self.rng)


@dataclass(frozen=True)
class MaxRate:
    """The maximum rate of one workload."""

    bracket: RateBracket
    limited_by: str
    rate: float | None  # confirmed by further measurements; none where no rate was
    summary: LoadSummary | None  # of these measurements


@app.command()
def slo(
    *,
    p99: Annotated[
        float, typer.Option("--p99-ms", min=0.1, help="Limit of p99, measured from the intended start.")
    ] = 50.0,
    failures: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that may fail.")] = 0.001,
    seconds: Annotated[
        float, typer.Option(min=0.2, help="Duration of one measurement; longer where the rate is low.")
    ] = 3.0,
    samples: Annotated[
        int, typer.Option(min=100, help="Requests of a measurement at least: of 1,000 ten lie above p99.")
    ] = 1_000,
    tolerance: Annotated[
        float, typer.Option(min=0.01, help="Relative distance between a rate that holds and one that breaks.")
    ] = 0.05,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections; further arrivals wait.")] = 64,
    items: Annotated[int, typer.Option(min=31, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Of the bundle, the requests and the arrivals.")] = 0,
) -> None:
    """Raise the rate of open arrivals until p99 breaks its limit, then bisect. Takes some minutes.

    Arrivals are a Poisson process, whatever the server does, and are timed from their intended start: waiting counts.
    The requests are those of a shop (80% recommendations, 12% similar items, 8% events, users by Zipf's law). They go
    to the service as shipped and to "uncached", a service without its response cache; the baseline is FastAPI's empty
    endpoint. At each rate the measurement follows half a second of load; near the limit the median of three counts.
    The rates found are then measured three times more, in turn, and lowered until they hold; the table shows these.

    "Limited by" is the bottleneck at the lowest rate that broke the limit: where it is the client, the server
    can handle more than was found. The last line is JSON.

    Example: python -m loadtests.slo --p99-ms 20 --seconds 5
    """
    end_by_signals()
    objective, rng = Objective(p99, failures, seconds, connections, tolerance, samples), np.random.default_rng(seed)
    sizes, cores = RandomBundleSizes(items, users), available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-slo-") as folder:
        registry, key = Path(folder) / "bundles", BenchKey.create(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, rng)
        with running(registry, cores, key, (SHIPPED, UNCACHED)) as servers:
            benchmark = Benchmark(servers, workloads(sizes, key.key, rng))
            benchmark.warm_up()
            found = find_max_rates(benchmark, objective, rng)
    show(found, objective)
    record = {"slo": asdict(objective), **asdict(sizes), "cores": asdict(cores), "found": as_json(found)}
    typer.echo(orjson.dumps(record).decode())


def workloads(sizes: RandomBundleSizes, key: str, rng: np.random.Generator) -> tuple[Workload, ...]:
    """Return the baseline, and a shop's requests for both services."""
    mix = requests(sizes, key, CYCLE, rng)
    return (
        workload(BASELINE, BASELINE, [raw(PATH)]),
        workload(SHOP, SHIPPED, mix, len(mix)),
        workload(SHOP_UNCACHED, UNCACHED, mix),
    )


def find_max_rates(benchmark: Benchmark, objective: Objective, rng: np.random.Generator) -> dict[str, MaxRate]:
    """Search the maximum rate of every workload, then confirm the rates in turn."""
    brackets: dict[str, RateBracket] = {}
    limits: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for one in progress.track(benchmark.workloads, description="searching"):
            search = RateSearch(benchmark, one, objective, rng, progress)
            brackets[one.name] = search.find()
            limits[one.name] = search.limited_by(brackets[one.name])
    rates = {name: bracket.held for name, bracket in brackets.items() if bracket.held is not None}
    held = confirm(benchmark, rates, objective, rng)
    return {name: MaxRate(one, limits[name], *held.get(name, (None, None))) for name, one in brackets.items()}


def confirm(
    benchmark: Benchmark, rates: Mapping[str, float], objective: Objective, rng: np.random.Generator
) -> dict[str, tuple[float, LoadSummary]]:
    """Measure the rates again and lower each until it holds: a search ends at its most favourable measurements."""
    held: dict[str, tuple[float, LoadSummary]] = {}
    for _ in range(MOST_STEPS_DOWN):
        left = {name: rate for name, rate in rates.items() if name not in held}
        if not left:
            break
        unconfirmed = replace(benchmark, workloads=tuple(one for one in benchmark.workloads if one.name in left))
        summaries = unconfirmed.open(left, objective.connections, Pace(objective.seconds, CONFIRM_ROUNDS), rng)
        held |= {name: (left[name], one) for name, one in summaries.items() if objective.holds_for(one)}
        rates = {name: rate / (1 + objective.tolerance) for name, rate in left.items()}
    return held


def show(found: Mapping[str, MaxRate], objective: Objective) -> None:
    """Print the table."""
    table = Table("requests", title=f"highest rate with p99 within {objective.p99_ms:g} ms, open arrivals")
    for heading in ("requests/s", "of empty", "p50 ms", "p95 ms", "p99 ms", "failed", "server", "client", "cached"):
        table.add_column(heading, justify="right")
    table.add_column("limited by")
    for name, one in found.items():
        table.add_row(name, *_cells(one, found[BASELINE].rate), one.limited_by)
    Console(width=150).print(table)


def _cells(one: MaxRate, empty: float | None) -> Sequence[str]:
    rate, summary = one.rate, one.summary
    if rate is None or summary is None:
        return ("none", *[""] * 8)
    return (
        f"{rate:,.0f}",
        f"{rate / empty:.2f}" if empty else "",
        *(f"{ms:.1f}" for ms in (summary.p50_ms, summary.p95_ms, summary.p99_ms)),
        str(summary.failures),
        f"{summary.server_busy:.0%}",
        f"{summary.client_busy:.0%}",
        f"{summary.cached:.0%}",
    )


def as_json(found: Mapping[str, MaxRate]) -> dict[str, dict[str, Any]]:
    """Return the maximum rates as JSON objects."""
    summaries = as_record({name: one.summary for name, one in found.items() if one.summary})
    empty = found[BASELINE].rate
    return {
        name: {
            "rate": _rounded(one.rate),
            "of_empty": round(one.rate / empty, 3) if one.rate and empty else None,
            "search": {"held": _rounded(one.bracket.held), "broke": _rounded(one.bracket.broke)},
            "limited_by": one.limited_by,
            "at_rate": summaries.get(name),
        }
        for name, one in found.items()
    }


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


if __name__ == "__main__":
    run_cli(app)
