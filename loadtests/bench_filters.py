"""`python -m loadtests.bench_filters`: what a filter adds to a whole request, beside the same request without it."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.table import Table

from deploy.processes import SERVICE, Child, end_by_signals, free_port, redis_server, server
from index.bundle import write_bundle
from index.cli import command_line, run_cli
from index.registry import Registry
from loadtests.bench_servers import NO_RESPONSE_CACHE, available_cores, cpu_seconds, on_core
from loadtests.load_client import closed_loop
from loadtests.random_bundle import CREATED, RandomBundleSizes, random_content, user_id

CONNECTIONS = (1, 16)
USERS = 20_000
COLOURS = ("red", "blue", "green", "grey", "white")
UNFILTERED = "unfiltered"
SHARES = (0.5, 0.2, 0.01, 0.0001)
SPREAD = 1e-9  # by which prices in filters differ that are to be uncached, and select the same items
TYPICAL = (
    "price < 0.5 and available = true and colour in [red, blue] and not tags contains sale and created > 2025-02-01"
)

Array = np.ndarray[Any, Any]

app = command_line()


class Workload(NamedTuple):
    """Requests that differ in their users, and perhaps in their filter."""

    name: str
    filter_of: Callable[[int], str]  # by the number of the request; empty for none


@app.command()
def bench_filters(
    *,
    items: Annotated[int, typer.Option(min=100, help="Items of the random bundle.")] = 100_000,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    factory: Annotated[str, typer.Option(help="The index, by FAISS factory string; auto chooses one.")] = "Flat",
    seconds: Annotated[float, typer.Option(min=0.05, help="Duration of one measurement in one round.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, of which the median counts.")] = 5,
    connections: Annotated[list[int] | None, typer.Option(min=1, help="Keep-alive connections; repeatable.")] = None,
) -> None:
    """Ask for recommendations of ever other users, without a filter and with filters of several shares of the items.

    The service has no response cache. A cached filter is the same in all requests of a row, an uncached one has a price
    of its own in each, so that it is parsed and evaluated. The ratio is that of the server's CPU time for a request,
    which other work on the machine changes less than its latency. Prints a table and a line of JSON.
    """
    end_by_signals()
    cores = available_cores()
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder, on_core(cores.client):
        _publish(Path(folder), items, size, factory)
        with redis_server() as redis:
            with on_core(cores.server):
                started = server(SERVICE, Path(folder), free_port(), redis.connection_url, settings=NO_RESPONSE_CACHE)
            with started as service:
                rows = [row for n in connections or CONNECTIONS for row in _measure(service, n, seconds, rounds)]
    Console().print(_table(rows))
    record = {"bench": "filters", "items": items, "embedding_size": size, "factory": factory, "rows": rows}
    typer.echo(orjson.dumps(record).decode())


def _publish(registry: Path, n_items: int, size: int, factory: str) -> None:
    rng = np.random.default_rng(0)
    sizes = RandomBundleSizes(n_items=n_items, n_users=min(USERS, n_items), seen_per_user=30, embedding_size=size)
    content = replace(random_content(sizes, rng), items=_items(n_items, rng))
    path = write_bundle(registry, content, created_at=CREATED, factory=factory)
    Registry(registry).publish(path.name)


def _items(n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Items whose prices are the ranks of 0 to 1 in random order: `price < s` selects the share s."""
    prices = rng.permutation(n) / n
    created = [datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=int(hours)) for hours in rng.integers(0, 9_000, n)]
    return [
        {
            "title": f"{COLOURS[row % len(COLOURS)]} thing no. {row}",
            "category": f"category {row % 300}",
            "attributes": {
                "price": float(prices[row]),
                "available": bool(row % 10),
                "colour": COLOURS[row % len(COLOURS)],
                "tags": ["sale", f"tag {row % 50}"] if row % 7 == 0 else [f"tag {row % 50}"],
                "created": created[row].isoformat(),
            },
            "image": None,
        }
        for row in range(n)
    ]


def workloads() -> list[Workload]:
    """Return what is measured: no filter first."""
    rows = [Workload(UNFILTERED, lambda _: "")]
    for share in SHARES:
        rows += [
            Workload(f"{share:.2%}, cached", lambda _, s=share: f"price < {s}"),  # type: ignore[misc]
            Workload(f"{share:.2%}, uncached", lambda i, s=share: f"price < {s - i * SPREAD:.12f}"),  # type: ignore[misc]
        ]
    return [
        *rows,
        Workload("typical, cached", lambda _: TYPICAL),
        Workload("typical, uncached", lambda i: f"price < {1 - i * SPREAD:.12f} and {TYPICAL}"),
    ]


def _measure(service: Child, connections: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    numbers = itertools.count()
    measured: dict[str, list[dict[str, float]]] = {one.name: [] for one in workloads()}
    for one in workloads():  # build what first requests build
        service.client.get(f"/recommend/{user_id(0)}", params={"filter": one.filter_of(0)}).raise_for_status()
    for _ in range(rounds):
        for one in workloads():
            before = cpu_seconds(service.pid)
            result = closed_loop(service.port, _requests(one, numbers), connections=connections, seconds=seconds)
            cpu, n = cpu_seconds(service.pid) - before, max(len(result.latencies), 1)
            p50 = float(np.median(result.latencies or [np.nan]))
            measured[one.name].append({"us": cpu / n * 1e6, "p50_ms": p50 * 1e3, "failed": result.failures})
    plain = measured[UNFILTERED]
    return [
        {
            "connections": connections,
            "filter": name,
            "server_us": round(float(np.median([one["us"] for one in rows]))),
            "p50_ms": round(float(np.median([one["p50_ms"] for one in rows])), 2),
            "failed": int(sum(one["failed"] for one in rows)),
            # Of measurements within the same seconds: the machine's speed changes.
            "ratio": round(float(np.median([a["us"] / b["us"] for a, b in zip(rows, plain, strict=True)])), 2),
        }
        for name, rows in measured.items()
    ]


def _requests(one: Workload, numbers: Iterator[int]) -> Iterator[bytes]:
    """Yield requests for one user after another."""
    for number in numbers:
        chosen = one.filter_of(number)
        query = f"?filter={quote(chosen, safe='')}" if chosen else ""
        path = f"/recommend/{user_id(number * 7 % USERS)}{query}"
        yield f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


if __name__ == "__main__":
    run_cli(app)
