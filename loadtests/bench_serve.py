"""`python -m loadtests.bench_serve`: how fast the service answers, beside FastAPI's empty endpoint, in one run."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer
from rich.console import Console

from deploy.processes import end_by_signals
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.bench_servers import BASELINE, SETTINGS, ApiKey, BenchServers, available_cores, running
from loadtests.benchmark import QUICK, Benchmark, OpenRound, Pace
from loadtests.load_summary import LoadMeasurement, LoadSummary, as_record, caveats, summarize, summary_table
from loadtests.random_bundle import BundleSizes, publish_random
from loadtests.workloads import Workload, events, make_workloads

CONNECTIONS = [16, 64]
HEAVY = [1_024, 10_000]
OPEN_ROUNDS = 7  # of them the median: what else the machine does comes in bursts

app = command_line()


@app.command()
def bench_serve(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen, to be left out.")] = 30,
    heavy: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Seen items of a few more users; repeatable. [default: 1,024 and 10,000, where there are so many]",
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    k: Annotated[int, typer.Option(min=1, help="Items in an answer.")] = 10,
    connections: Annotated[
        list[int] | None, typer.Option(min=1, help="Keep-alive connections; repeatable. [default: 16 and 64]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of one measurement in one round.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn.")] = 4,
    requests: Annotated[int, typer.Option(min=1, help="Draws from Zipf's law, asked again and again.")] = 20_000,
    load: Annotated[
        float, typer.Option(min=0.01, max=1.5, help="Of open arrivals, over what a closed loop finds.")
    ] = 0.7,
    row: Annotated[
        list[str] | None, typer.Option(help="A row of the tables that is wanted; repeatable. [default: all]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bundle, of who asks, and of the arrivals.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One round of 0.3 s and 2,000 requests: shows that it works, and no more.")
    ] = False,
) -> None:
    """Measure the service over real sockets; print tables, then one line of JSON. Takes eight to twenty minutes.

    A random bundle is published in a temporary folder. Redis, the yardstick (FastAPI's empty JSON endpoint on the same
    uvicorn) and the service are started: those that answer on one core, the client and Redis on another. The service
    runs three times: as shipped; "anew", without its cache of answers; "bare", without its memory of users either.
    Those that are not asked stand still: an idle service wakes some 27 times a second, and others wait for that.

    First a closed loop over keep-alive connections finds the most that the server can do, kind by kind in turn, so
    that a ratio compares what was measured within the same few seconds. Then Poisson arrivals, timed from their
    intended start, find how long callers wait: at --load of what a closed loop finds just before. Where one just after
    finds another speed by more than 15%, or the server was busy by 15% more or less than --load, the machine has
    changed, and the round does not count (the line of JSON has them all).

    On a machine that others use, believe "by CPU" (the yardstick's CPU a request over ours) before "ratio".

    Example: python -m loadtests.bench_serve --connections 32 --row recommend --row "explain, anew" --load 0.5
    """
    end_by_signals()
    pace, n_requests = (QUICK, 2_000) if quick else (Pace(seconds, rounds), requests)
    open_pace = replace(pace, rounds=OPEN_ROUNDS if pace.rounds > 1 else 1)
    sizes = BundleSizes(items, users, seen, size, tuple(heavy or [n for n in HEAVY if n <= items]))
    rng, cores = np.random.default_rng(seed), available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder:
        registry, key = Path(folder) / "bundles", ApiKey.made(Path(folder) / "keys.jsonl")
        workloads = wanted(make_workloads(sizes, k=k, n_requests=n_requests, key=key.key, rng=rng), row)
        publish_random(registry, sizes, rng)
        with running(registry, cores, key) as servers:
            send_events(servers, sizes, rng)
            with servers.pausing(servers.children) as paused:
                bench = Benchmark(paused, workloads)
                bench.warm_up()
                closed = {n: bench.closed(n, pace) for n in sorted(set(connections or CONNECTIONS))}
                loaded = bench.loaded(load, max(closed), open_pace, rng)
    opened = {name: summarize(counted(rounds)) for name, rounds in loaded.items()}
    steady = {name: (sum(one.steady for one in rounds), len(rounds)) for name, rounds in loaded.items()}
    show(closed, opened, steady, load)
    record = {
        "bench": "serve",
        **asdict(sizes),
        "k": k,
        "cores": asdict(cores),
        "closed": {str(n): as_record(figures) for n, figures in closed.items()},
        "limits": {str(n): {name: one.limit for name, one in figures.items()} for n, figures in closed.items()},
        "open_load": load,
        "open": as_record(opened),
        "open_rounds": {name: [as_told(one) for one in rounds] for name, rounds in loaded.items()},
    }
    typer.echo(orjson.dumps(record).decode())


def wanted(workloads: tuple[Workload, ...], rows: list[str] | None) -> tuple[Workload, ...]:
    """Those of the rows, and the yardstick beside them; InputError where there is no such row."""
    names = [one.name for one in workloads]
    for row in rows or ():
        if row not in names:
            raise InputError(f"--row: {row!r} is not known; expected some of {'; '.join(names)}")
    return tuple(one for one in workloads if rows is None or one.name in {BASELINE, *rows})


def send_events(servers: BenchServers, sizes: BundleSizes, rng: np.random.Generator) -> None:
    """Tell every service what the newcomers did."""
    for body in events(sizes, rng):
        for name in SETTINGS:
            servers.children[name].client.post("/events", content=body).raise_for_status()


def counted(rounds: Sequence[OpenRound]) -> list[LoadMeasurement]:
    """The steady rounds; all of them where none was, which the table says beside them."""
    return [one.measured for one in rounds if one.steady] or [one.measured for one in rounds]


def as_told(one: OpenRound) -> dict[str, float | bool]:
    """One round for programs."""
    measured = one.measured
    figures = {"before": one.before, "after": one.after, "busy": measured.server_busy, "p99_ms": measured.p99_ms}
    return {**{name: round(value, 2) for name, value in figures.items()}, "steady": one.steady}


def show(
    closed: Mapping[int, Mapping[str, LoadSummary]],
    opened: Mapping[str, LoadSummary],
    steady: Mapping[str, tuple[int, int]],
    load: float,
) -> None:
    """Print the tables, and what to bear in mind beside them."""
    console = Console(width=185)
    for n, figures in closed.items():
        console.print(summary_table(figures, title=f"closed loop, {n} connections"))
        for line in caveats(figures):
            console.print(line, style="yellow", highlight=False)
    title = f"open arrivals at {load:.0%} of what a closed loop finds just before, from the intended start"
    console.print(summary_table(opened, title=title, steady=steady))


if __name__ == "__main__":
    run_cli(app)
