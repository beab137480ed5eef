"""`python -m loadtests.bench_events`: the number of events per second that POST /events stores."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.table import Table

from deploy.processes import SERVICE, end_by_signals, free_port, redis_server, server
from index.cli import command_line, run_cli
from loadtests.bench_servers import available_cores, cpu_seconds, on_core
from loadtests.load_client import closed_loop
from loadtests.random_bundle import RandomBundleSizes, publish_random

SMALL = RandomBundleSizes(n_items=1_000, n_users=1_000, seen_per_user=10, embedding_size=16)
CONNECTIONS = 16
BATCHES = (1, 100)

app = command_line()


@app.command()
def bench_events(
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of each measurement.")] = 3.0,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections.")] = CONNECTIONS,
) -> None:
    """Send clicks, one and a hundred per request, to a service with the SQLite log; print a table and a line of JSON.

    The server has one core and the client another. Single events are usually limited by the disk's sync, which waiting
    requests share. The log is in the folder for temporary files: set TMPDIR to measure another disk.
    """
    end_by_signals()
    cores = available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder, on_core(cores.client):
        publish_random(Path(folder), SMALL, np.random.default_rng(0))
        with redis_server() as redis:
            with on_core(cores.server):
                started = server(SERVICE, Path(folder), free_port(), redis.connection_url)
            with started as service:
                rows = [_measure(service.port, service.pid, batch, connections, seconds) for batch in BATCHES]
    Console().print(_table(rows))
    typer.echo(orjson.dumps({"connections": connections, "rows": rows}).decode())


def _measure(port: int, pid: int, batch: int, connections: int, seconds: float) -> dict[str, Any]:
    before = cpu_seconds(pid)
    result = closed_loop(port, _requests(batch), connections=connections, seconds=seconds)
    cpu = cpu_seconds(pid) - before
    n = len(result.latencies) * batch
    p50, p99 = np.percentile(result.latencies or [np.nan], (50, 99)) * 1000
    return {
        "batch": batch,
        "events_per_second": round(n / result.seconds),
        "calls_per_second": round(len(result.latencies) / result.seconds),
        "failed": result.failures,
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "server_us_per_event": round(cpu / max(n, 1) * 1e6, 1),
        "server_busy": round(cpu / result.seconds, 2),
    }


def _requests(batch: int) -> Iterator[bytes]:
    """Yield requests with distinct events."""
    for number in itertools.count():
        events = [
            {
                "event_id": f"{batch}-{number}-{i}",
                "user_id": f"user-{(number * 7 + i) % SMALL.n_users}",
                "item_id": f"item-{(number + i) % SMALL.n_items}",
                "kind": "click",
                "request_id": f"{number}",
            }
            for i in range(batch)
        ]
        body = orjson.dumps(events)
        yield b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" for value in row.values()))
    return table


if __name__ == "__main__":
    run_cli(app)
