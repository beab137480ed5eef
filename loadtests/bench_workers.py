"""`python -m loadtests.bench_workers`: what several worker processes answer beside one, on one machine."""

import itertools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from deploy.processes import SERVICE, Child, end_by_signals, free_port, server
from index.cli import command_line, run_cli
from index.errors import InputError
from loadtests.bench_servers import NO_RESPONSE_CACHE, RESUME_S, cpu_seconds
from loadtests.load_client import closed_loop
from loadtests.random_bundle import RandomBundleSizes, publish_random, user_id
from loadtests.workloads import raw, zipf_rows

CONNECTIONS = 64  # for each worker: requests that wait together are searched together, which costs less CPU
N_REQUESTS = 2_000
WARM_UP_S = 30.0
WARM_UP_CYCLES = 8  # of all requests, so that nearly each of them has reached each worker, which has caches of its own
ROWS: Mapping[str, tuple[str, bool]] = {  # the path of a user's request, and whether responses are cached
    "recommend": ("/recommend/{}?k=10", True),
    "recommend, uncached": ("/recommend/{}?k=10", False),
    "explain, uncached": ("/recommend/{}?k=10&explain=true", False),
}

app = command_line()


@dataclass(frozen=True)
class WorkersRound:
    """One closed loop."""

    rate: float  # requests per second
    server_us: float  # CPU of all processes of the service, a request
    client_us: float  # CPU of the load generator, a request


@dataclass(frozen=True)
class WorkersRow:
    """The medians of the rounds of one row with so many workers, compared with one worker."""

    row: str
    workers: int
    rate: float
    server_us: float
    client_us: float
    faster: float  # rate over that of one worker
    possible: float  # what perfect scaling would reach here, where the load generator needs its part of the cores
    by_cpu: float  # how many times the rate of one worker, had each a core of its own


@app.command()
def bench_workers(
    *,
    workers: Annotated[list[int] | None, typer.Option(min=1, help="Beside one; repeatable. [default: 2]")] = None,
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 20_000,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of one measurement.")] = 2.0,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds; each measures every row with every number of workers.")
    ] = 5,
    row: Annotated[list[str] | None, typer.Option(help="A row; repeatable. [default: all]")] = None,
) -> None:
    """Measure requests per second of a closed loop over 64 connections a worker; print a table, then one line of JSON.

    Services that are not measured are suspended. The load generator runs on the same cores, and takes its part of
    them: "possible" says what perfect scaling would reach beside it. "by CPU" compares CPU time a request alone, and
    is what remains where other work shares the machine.

    Example: python -m loadtests.bench_workers --workers 2 --row "explain, uncached"
    """
    end_by_signals()
    for name in row or ():
        if name not in ROWS:
            raise InputError(f"--row: {name!r} is not known; expected some of {'; '.join(ROWS)}")
    rows, numbers = tuple(row or ROWS), [1, *(workers or [2])]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder, ExitStack() as stack:
        publish_random(Path(folder), RandomBundleSizes(items, users, 30, size), rng)
        drawn = [user_id(number) for number in zipf_rows(users, N_REQUESTS, rng).tolist()]
        keys = [(cached, n) for cached in sorted({ROWS[name][1] for name in rows}) for n in numbers]
        services = {key: stack.enter_context(_service(Path(folder), *key)) for key in keys}
        stack.enter_context(_all_suspended(services.values()))
        found = _measure(services, rows, numbers, drawn, seconds=seconds, rounds=rounds)
    table = compared(found, len(os.sched_getaffinity(0)))
    show(table)
    record = {"bench": "workers", "cores": len(os.sched_getaffinity(0)), "rows": [asdict(one) for one in table]}
    typer.echo(orjson.dumps(record).decode())


@contextmanager
def _service(registry: Path, cached: bool, n: int) -> Iterator[Child]:
    settings = {"RECO_REDIS_URL": "", "RECO_DATA": str(registry / f"data-{cached}-{n}")}
    settings |= {} if cached else NO_RESPONSE_CACHE
    command = (*SERVICE, "--workers", str(n))
    with server(command, registry, free_port(), "", settings=settings) as child:
        yield child


@contextmanager
def _all_suspended(services: Iterable[Child]) -> Iterator[None]:
    children = list(services)
    for child in children:
        os.killpg(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            os.killpg(child.pid, signal.SIGCONT)


@contextmanager
def _resumed(child: Child) -> Iterator[None]:
    os.killpg(child.pid, signal.SIGCONT)
    time.sleep(RESUME_S)
    try:
        yield
    finally:
        os.killpg(child.pid, signal.SIGSTOP)


def _measure(
    services: Mapping[tuple[bool, int], Child],
    rows: Sequence[str],
    numbers: Sequence[int],
    users: Sequence[str],
    *,
    seconds: float,
    rounds: int,
) -> dict[tuple[str, int], list[WorkersRound]]:
    found: dict[tuple[str, int], list[WorkersRound]] = {}
    measurements = [(name, n) for _ in range(rounds + 1) for name in rows for n in numbers]
    for name, n in track(measurements, "measuring", console=Console(stderr=True)):
        path, cached = ROWS[name]
        child = services[cached, n]
        requests = itertools.cycle([raw(path.format(user)) for user in users])
        with _resumed(child):
            if (name, n) not in found:  # the first round fills caches
                found[name, n] = []
                warm_up = itertools.islice(requests, WARM_UP_CYCLES * len(users))
                closed_loop(child.port, warm_up, connections=n * CONNECTIONS, seconds=WARM_UP_S)
            else:
                found[name, n].append(_round(child, requests, n * CONNECTIONS, seconds))
    return found


def _round(child: Child, requests: Iterator[bytes], connections: int, seconds: float) -> WorkersRound:
    server_cpu, client_cpu = cpu_seconds(child.pid), time.process_time()
    result = closed_loop(child.port, requests, connections=connections, seconds=seconds)
    server_cpu, client_cpu = cpu_seconds(child.pid) - server_cpu, time.process_time() - client_cpu
    if result.failures:
        raise InputError(f"{result.failures} requests failed")
    n = len(result.latencies)
    return WorkersRound(n / result.seconds, server_cpu / n * 1e6, client_cpu / n * 1e6)


def compared(found: Mapping[tuple[str, int], Sequence[WorkersRound]], n_cores: int) -> list[WorkersRow]:
    """Return one row for each key (row, workers), from the medians of its rounds."""
    return [_row(name, n, rounds, found[name, 1], n_cores) for (name, n), rounds in found.items()]


def _row(name: str, n: int, rounds: Sequence[WorkersRound], alone: Sequence[WorkersRound], n_cores: int) -> WorkersRow:
    rate, server_us, client_us = _medians(rounds)
    rate_1, server_1_us, client_1_us = _medians(alone)
    possible = min(n * rate_1, n_cores * 1e6 / (server_1_us + client_1_us)) / rate_1
    return WorkersRow(name, n, rate, server_us, client_us, rate / rate_1, possible, n * server_1_us / server_us)


def _medians(rounds: Sequence[WorkersRound]) -> tuple[float, float, float]:
    rates, servers, clients = zip(*((one.rate, one.server_us, one.client_us) for one in rounds), strict=True)
    return statistics.median(rates), statistics.median(servers), statistics.median(clients)


def show(rows: Sequence[WorkersRow]) -> None:
    """Print the table."""
    columns = ("row", "workers", "requests/s", "server µs", "client µs", "faster", "possible", "by CPU")
    table = Table(*columns, title=f"closed loop, {CONNECTIONS} connections a worker")
    for one in rows:
        numbers = f"{one.rate:,.0f}", f"{one.server_us:.0f}", f"{one.client_us:.0f}"
        table.add_row(
            one.row, str(one.workers), *numbers, *(f"{x:.2f}" for x in (one.faster, one.possible, one.by_cpu))
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    run_cli(app)
