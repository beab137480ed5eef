"""`python -m loadtests.bench_serve`: throughput and latency of the service, compared with FastAPI's empty endpoint."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer
from rich.console import Console

from deploy.processes import Child, end_by_signals
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.bench_servers import BASELINE, SETTINGS, BenchKey, BenchServers, available_cores, running
from loadtests.benchmark import QUICK, Benchmark, OpenRound, Pace
from loadtests.load_summary import LoadMeasurement, LoadSummary, as_record, caveats, summarize, summary_table
from loadtests.random_bundle import RandomBundleSizes, publish_random
from loadtests.workloads import QUICK_REQUESTS, Workload, events, make_workloads

CONNECTIONS = [16, 64]
HEAVY = [1_024, 10_000]
OPEN_ROUNDS = 7  # of which the median counts: other work on a machine comes in bursts

app = command_line()


@app.command()
def bench_serve(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seen: Annotated[int, typer.Option(min=1, help="Seen items of each user, which are excluded.")] = 30,
    heavy: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Adds a few users with so many seen items; repeatable. [default: 1,024 and 10,000, if items suffice]",
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    k: Annotated[int, typer.Option(min=1, help="Items in a response.")] = 10,
    connections: Annotated[
        list[int] | None, typer.Option(min=1, help="Keep-alive connections; repeatable. [default: 16 and 64]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of one measurement in one round.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures every row once.")] = 4,
    requests: Annotated[int, typer.Option(min=1, help="Requests drawn by Zipf's law, then repeated.")] = 20_000,
    load: Annotated[
        float, typer.Option(min=0.01, max=1.5, help="Rate of open arrivals, over that of the closed loop.")
    ] = 0.7,
    row: Annotated[list[str] | None, typer.Option(help="A row of the tables; repeatable. [default: all]")] = None,
    seed: Annotated[int, typer.Option(help="Of the bundle, the requests and the arrivals.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One short round with few requests: only shows that the benchmark works.")
    ] = False,
) -> None:
    """Measure the service over real sockets; print tables, then one line of JSON. Takes eight to twenty minutes.

    A random bundle is published in a temporary folder. Redis, the baseline (FastAPI's empty JSON endpoint on the same
    uvicorn) and the service are started: servers on one core, the client and Redis on another. The service runs three
    times: as shipped; "uncached", without its response cache; "bare", without its profile cache either. Servers
    that are not measured are suspended: an idle service wakes up some 27 times a second and would delay the others.

    First a closed loop over keep-alive connections finds the maximum throughput, one row after another, so that a
    ratio compares measurements within the same few seconds. Then Poisson arrivals, timed from their intended start,
    measure latency at --load of the throughput that a closed loop finds just before. A round does not count where the
    throughput just after differs by more than 15%, or the server was busy by 15% more or less than --load: then the
    machine has changed its speed. The line of JSON has all rounds.

    On a shared machine, "by CPU" (the baseline's CPU per request over ours) is more reliable than "ratio".

    Example: python -m loadtests.bench_serve --connections 32 --row recommend --row "explain, uncached" --load 0.5
    """
    end_by_signals()
    pace, n_requests = (QUICK, QUICK_REQUESTS) if quick else (Pace(seconds, rounds), requests)
    open_pace = replace(pace, rounds=OPEN_ROUNDS if pace.rounds > 1 else 1)
    sizes = RandomBundleSizes(items, users, seen, size, tuple(heavy or [n for n in HEAVY if n <= items]))
    rng, cores = np.random.default_rng(seed), available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder:
        registry, key = Path(folder) / "bundles", BenchKey.create(Path(folder) / "keys.jsonl")
        workloads = chosen(make_workloads(sizes, k=k, n_requests=n_requests, key=key.key, rng=rng), row)
        publish_random(registry, sizes, rng)
        with running(registry, cores, key, services_of(workloads)) as servers:
            send_events(servers, sizes, rng)
            with servers.pausing(servers.children, pace.resume_s) as paused:
                benchmark = Benchmark(paused, workloads)
                benchmark.warm_up()
                closed = {n: benchmark.closed(n, pace) for n in sorted(set(connections or CONNECTIONS))}
                open_rounds = benchmark.open_at_load(load, max(closed), open_pace, rng)
    opened = {name: summarize(counted(rounds)) for name, rounds in open_rounds.items()}
    steady = {name: (sum(one.steady for one in rounds), len(rounds)) for name, rounds in open_rounds.items()}
    show(closed, opened, steady, load)
    record = {
        "bench": "serve",
        **asdict(sizes),
        "k": k,
        "cores": asdict(cores),
        "closed": {str(n): as_record(summaries) for n, summaries in closed.items()},
        "limits": {str(n): {name: one.limit for name, one in summaries.items()} for n, summaries in closed.items()},
        "open_load": load,
        "open": as_record(opened),
        "open_rounds": {name: [round_record(one) for one in rounds] for name, rounds in open_rounds.items()},
    }
    typer.echo(orjson.dumps(record).decode())


def chosen(workloads: tuple[Workload, ...], rows: list[str] | None) -> tuple[Workload, ...]:
    """Return the workloads of these rows and the baseline. InputError where a row does not exist."""
    names = [one.name for one in workloads]
    for row in rows or ():
        if row not in names:
            raise InputError(f"--row: {row!r} is not known; expected some of {'; '.join(names)}")
    return tuple(one for one in workloads if rows is None or one.name in {BASELINE, *rows})


def services_of(workloads: Sequence[Workload]) -> list[str]:
    """Return the services that these workloads need."""
    return [name for name in SETTINGS if any(one.server == name for one in workloads)]


def send_events(servers: BenchServers, sizes: RandomBundleSizes, rng: np.random.Generator) -> None:
    """Send the events of the fold-in users to every service; the services store them in parallel."""
    bodies = list(events(sizes, rng))

    def send(service: Child) -> None:
        for body in bodies:
            service.client.post("/events", content=body).raise_for_status()

    with ThreadPoolExecutor() as threads:
        list(threads.map(send, (child for name, child in servers.children.items() if name in SETTINGS)))


def counted(rounds: Sequence[OpenRound]) -> list[LoadMeasurement]:
    """Return the steady rounds, or all where none was steady; the table shows how many were."""
    return [one.measured for one in rounds if one.steady] or [one.measured for one in rounds]


def round_record(one: OpenRound) -> dict[str, float | bool]:
    """Return one round of open arrivals as a JSON object."""
    measured = one.measured
    numbers = {"before": one.before, "after": one.after, "busy": measured.server_busy, "p99_ms": measured.p99_ms}
    return {**{name: round(value, 2) for name, value in numbers.items()}, "steady": one.steady}


def show(
    closed: Mapping[int, Mapping[str, LoadSummary]],
    opened: Mapping[str, LoadSummary],
    steady: Mapping[str, tuple[int, int]],
    load: float,
) -> None:
    """Print the tables and their caveats."""
    console = Console(width=185)
    for n, summaries in closed.items():
        console.print(summary_table(summaries, title=f"closed loop, {n} connections"))
        for line in caveats(summaries):
            console.print(line, style="yellow", highlight=False)
    title = f"open arrivals at {load:.0%} of what a closed loop finds just before, from the intended start"
    console.print(summary_table(opened, title=title, steady=steady))


if __name__ == "__main__":
    run_cli(app)
