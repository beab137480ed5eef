"""`python -m loadtests.slo`: the highest rate at which p99 stays under its limit, beside FastAPI's empty endpoint."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from loadtests.bench_servers import BASELINE, SHIPPED, UNCACHED, ApiKey, available_cores, running
from loadtests.benchmark import Benchmark, Pace
from loadtests.load_summary import LoadMeasurement, LoadSummary, as_record, summarize
from loadtests.max_rate import RateBracket, find_max_rate
from loadtests.random_bundle import BundleSizes, publish_random
from loadtests.shop_traffic import requests
from loadtests.workloads import Workload, raw, workload

CONFIRMED = 3  # measurements at the rate found, the kinds in turn
MOST_LOWERED = 12  # times; after that the machine is not fit to measure on
FIRST, MOST = 200.0, 20_000.0  # requests a second
SETTLING = 30  # requests at least: of arrivals by chance none may come in half a second
CYCLE = 50_000  # requests of the mix, before they come again
SHOP, SHOP_UNCACHED = "shop", "shop, anew"

app = command_line()


@dataclass(frozen=True)
class Objective:
    """What must hold, and how hard it is looked at."""

    p99_ms: float
    failures: float  # share
    seconds: float
    connections: int
    tolerance: float
    samples: int
    settling_s: float = 0.5  # at each new rate, before anything counts

    def holds_for(self, one: LoadSummary) -> bool:
        """Whether all the measurements behind these figures, taken together, are within it."""
        return one.p99_ms <= self.p99_ms and one.failures <= self.failures * (one.failures + one.requests)

    def limit_ratio(self, one: LoadMeasurement) -> float:
        """p99 over its limit; boundless where more requests failed than may."""
        if one.failures > self.failures * (one.failures + len(one.latencies)):
            return math.inf
        return one.p99_ms / self.p99_ms


@dataclass
class RateSearch:
    """Looks for the knee of one kind of request, and remembers what it saw."""

    bench: Benchmark
    workload: Workload
    objective: Objective
    rng: np.random.Generator
    progress: Progress
    seen: dict[float, list[LoadMeasurement]] = field(default_factory=dict)

    def find(self) -> RateBracket:
        """Search from a rate that any service bears."""
        return find_max_rate(self.limit_ratio, first=FIRST, tolerance=self.objective.tolerance, most=MOST)

    def limit_ratio(self, rate: float) -> float:
        """Measure at this rate, told as it goes."""
        self._arrivals(rate, max(self.objective.settling_s, SETTLING / rate))
        one = self._arrivals(rate, max(self.objective.seconds, self.objective.samples / rate))
        self.seen.setdefault(rate, []).append(one)
        limit_ratio = self.objective.limit_ratio(one)
        told = f"p99 {one.p99_ms:.1f} ms, {one.failures} failed: {'holds' if limit_ratio <= 1 else 'breaks'}"
        self.progress.console.print(f"{self.workload.name}, {rate:,.0f} a second: {told}", highlight=False)
        return limit_ratio

    def limited_by(self, knee: RateBracket) -> str:
        """What gave way at the lowest rate that broke."""
        if knee.broke is None:
            return f"the search itself: {MOST:,.0f} a second held"
        broke = self.seen[knee.broke]
        if sum(math.isinf(self.objective.limit_ratio(one)) for one in broke) * 2 > len(broke):
            return "failures"
        return summarize(broke).limit

    def _arrivals(self, rate: float, seconds: float) -> LoadMeasurement:
        return self.bench.arrivals(self.workload, rate, seconds, self.objective.connections, self.rng)


@dataclass(frozen=True)
class MaxRate:
    """What one kind of request comes to."""

    knee: RateBracket
    limited_by: str
    rate: float | None  # that held when it was measured again; none where none did
    figures: LoadSummary | None  # of these measurements


@app.command()
def slo(
    *,
    p99: Annotated[
        float, typer.Option("--p99-ms", min=0.1, help="Limit of p99, from when a request should have started.")
    ] = 50.0,
    failures: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that may fail.")] = 0.001,
    seconds: Annotated[float, typer.Option(min=0.2, help="Of one measurement; longer where the rate is low.")] = 3.0,
    samples: Annotated[
        int, typer.Option(min=100, help="Of a measurement at least: of 1,000 ten lie above p99.")
    ] = 1_000,
    tolerance: Annotated[
        float, typer.Option(min=0.01, help="How near to each other a rate that holds and one that breaks must be.")
    ] = 0.05,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections; more arrivals than that wait.")] = 64,
    items: Annotated[int, typer.Option(min=31, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seed: Annotated[int, typer.Option(help="Of the bundle, of who asks, and of the arrivals.")] = 0,
) -> None:
    """Raise the rate of open arrivals until p99 breaks its limit, then close in on the border. Takes some minutes.

    Arrivals come by a Poisson process, whatever the server does, and are timed from when they should have started:
    waiting counts. Asked is what a shop asks (80% recommendations, 12% similar items, 8% events, users by Zipf's law)
    of the service as shipped and "anew", without its cache of answers; and FastAPI's empty endpoint, the yardstick.
    At each rate half a second settles it before a measurement; near the border the median of three counts. The rates
    found are then measured three times more, in turn, and lowered until they hold: the figures of the table.

    "Limited by" says what was out of breath at the lowest rate that broke: where it is the client, the server bears
    more than was found. The last line is one of JSON.

    Example: python -m loadtests.slo --p99-ms 20 --seconds 5
    """
    end_by_signals()
    objective, rng = Objective(p99, failures, seconds, connections, tolerance, samples), np.random.default_rng(seed)
    sizes, cores = BundleSizes(items, users), available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-slo-") as folder:
        registry, key = Path(folder) / "bundles", ApiKey.made(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, rng)
        with running(registry, cores, key, (SHIPPED, UNCACHED)) as servers:
            bench = Benchmark(servers, workloads(sizes, key.key, rng))
            bench.warm_up()
            found = find_max_rates(bench, objective, rng)
    show(found, objective)
    record = {"slo": asdict(objective), **asdict(sizes), "cores": asdict(cores), "found": as_json(found)}
    typer.echo(orjson.dumps(record).decode())


def workloads(sizes: BundleSizes, key: str, rng: np.random.Generator) -> tuple[Workload, ...]:
    """The yardstick, and a shop's mix for both services."""
    mix = requests(sizes, key, CYCLE, rng)
    return (
        workload(BASELINE, BASELINE, [raw(PATH)]),
        workload(SHOP, SHIPPED, mix, len(mix)),
        workload(SHOP_UNCACHED, UNCACHED, mix),
    )


def find_max_rates(bench: Benchmark, objective: Objective, rng: np.random.Generator) -> dict[str, MaxRate]:
    """The knee of every kind of request, and what it is like there, measured in turn."""
    knees: dict[str, RateBracket] = {}
    limits: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for one in progress.track(bench.workloads, description="searching"):
            search = RateSearch(bench, one, objective, rng, progress)
            knees[one.name] = search.find()
            limits[one.name] = search.limited_by(knees[one.name])
    searched = {name: knee.held for name, knee in knees.items() if knee.held is not None}
    held = confirm(bench, searched, objective, rng)
    return {name: MaxRate(knee, limits[name], *held.get(name, (None, None))) for name, knee in knees.items()}


def confirm(
    bench: Benchmark, rates: Mapping[str, float], objective: Objective, rng: np.random.Generator
) -> dict[str, tuple[float, LoadSummary]]:
    """The rates measured again, in turn, each lowered until it holds: a search stops at its luckiest measurements."""
    held: dict[str, tuple[float, LoadSummary]] = {}
    for _ in range(MOST_LOWERED):
        left = {name: rate for name, rate in rates.items() if name not in held}
        if not left:
            break
        asking = Benchmark(bench.servers, tuple(one for one in bench.workloads if one.name in left))
        figures = asking.open(left, objective.connections, Pace(objective.seconds, CONFIRMED), rng)
        held |= {name: (left[name], one) for name, one in figures.items() if objective.holds_for(one)}
        rates = {name: rate / (1 + objective.tolerance) for name, rate in left.items()}
    return held


def show(found: Mapping[str, MaxRate], objective: Objective) -> None:
    """Print the table."""
    table = Table("asked", title=f"highest rate with p99 within {objective.p99_ms:g} ms, open arrivals")
    for heading in ("requests/s", "of empty", "p50 ms", "p95 ms", "p99 ms", "failed", "server", "client", "kept"):
        table.add_column(heading, justify="right")
    table.add_column("limited by")
    for name, one in found.items():
        table.add_row(name, *_cells(one, found[BASELINE].rate), one.limited_by)
    Console(width=150).print(table)


def _cells(one: MaxRate, empty: float | None) -> Sequence[str]:
    rate, figures = one.rate, one.figures
    if rate is None or figures is None:
        return ("none", *[""] * 8)
    return (
        f"{rate:,.0f}",
        f"{rate / empty:.2f}" if empty else "",
        *(f"{ms:.1f}" for ms in (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
        str(figures.failures),
        f"{figures.server_busy:.0%}",
        f"{figures.client_busy:.0%}",
        f"{figures.cached:.0%}",
    )


def as_json(found: Mapping[str, MaxRate]) -> dict[str, dict[str, Any]]:
    """The same for programs."""
    figures = as_record({name: one.figures for name, one in found.items() if one.figures})
    empty = found[BASELINE].rate
    return {
        name: {
            "rate": _told(one.rate),
            "of_empty": round(one.rate / empty, 3) if one.rate and empty else None,
            "search": {"held": _told(one.knee.held), "broke": _told(one.knee.broke)},
            "limited_by": one.limited_by,
            "at_rate": figures.get(name),
        }
        for name, one in found.items()
    }


def _told(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


if __name__ == "__main__":
    run_cli(app)
