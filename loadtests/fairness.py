"""`python -m loadtests.fairness`: the latency of cheap requests alone, and beside four of the worst legal callers."""

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.table import Table

from deploy.processes import SERVICE, Child, end_by_signals, free_port, redis_server, server
from index.cli import command_line, run_cli
from loadtests.bench_servers import available_cores, cpu_seconds, on_core
from loadtests.load_client import GIVE_UP_S, LoadResult, Pool, closed_loop, open_arrivals, poisson_arrivals
from loadtests.random_bundle import RandomBundleSizes, item_id, publish_random, user_id
from loadtests.workloads import raw

K_MAX, DEPTH_MAX, BATCH_MAX, ENTRIES_MAX = 500, 1_000, 100, 500  # the service's default limits
CONNECTIONS = 32  # of the cheap requests
HEAD_START_S = 1.0  # in which the callers fill the service's queues
EVERYTHING = {"explain": True, "counterfactual": True, "diversity": 0.5, "category_cap": K_MAX, "seed": 1}
ALONE = "alone"
PAUSE_S = 0.01  # before each request that is measured by CPU

app = command_line()


@dataclass(frozen=True)
class Caller:
    """A kind of expensive request: what is asked for and the raw request, the largest first."""

    name: str
    requests: Sequence[tuple[str, bytes]]


@app.command()
def fairness(
    *,
    items: Annotated[int, typer.Option(min=1_000, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1_000, help="Users of the random bundle.")] = 20_000,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    callers: Annotated[int, typer.Option(min=1, help="Callers, each with one request after another.")] = 4,
    rate: Annotated[float, typer.Option(min=1, help="Cheap requests per second, as open arrivals.")] = 100.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of each measurement.")] = 10.0,
    kind: Annotated[list[str] | None, typer.Option(help="A kind of caller; repeatable. [default: all]")] = None,
) -> None:
    """Measure GET /recommend of distinct users alone, then beside callers who send the most expensive legal request.

    The server has one core and the clients another; the response cache is off. Each caller's request is the largest of
    its kind that the service accepts. Prints a table and a line of JSON.

    On a shared machine, "cpu" is more reliable: the server's CPU time from sending a request to its response, which is
    its latency where nothing else runs on the server's core.
    """
    end_by_signals()
    cores, rng = available_cores(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder, on_core(cores.client):
        publish_random(Path(folder), RandomBundleSizes(items, users, 30, size), rng)
        with redis_server() as redis:
            with on_core(cores.server):
                settings = {"RECO_ANSWER_CACHE_MB": "0"}
                started = server(SERVICE, Path(folder), free_port(), redis.connection_url, settings=settings)
            with started as service, ProcessPoolExecutor(1, get_context("spawn")) as pool:
                pool.submit(int).result()  # started before anything is measured
                cheap = itertools.cycle([raw(f"/recommend/{user_id(row)}?k=10") for row in rng.permutation(users)])
                rows = [_row(ALONE, _cheap(service, cheap, rate, seconds, rng), _by_cpu(service, cheap, seconds))]
                for caller in callers_of(users):
                    if kind is None or caller.name in kind:
                        asked, request = _largest_accepted(service, caller)
                        pressed = pool.submit(_press, service.port, request, callers, HEAD_START_S + 2 * seconds)
                        time.sleep(HEAD_START_S)
                        found = _cheap(service, cheap, rate, seconds, rng)
                        row = _row(f"{caller.name} ({asked})", found, _by_cpu(service, cheap, seconds))
                        rows.append({**row, **_pressed(pressed.result())})
    Console(width=160).print(_table(rows))
    typer.echo(orjson.dumps({"items": items, "callers": callers, "rate": rate, "rows": rows}).decode())


def callers_of(n_users: int) -> Sequence[Caller]:
    """The kinds of expensive requests."""
    ids = [item_id(row) for row in range(ENTRIES_MAX)]
    rules = {
        "boost": [{"item_id": one, "by": 0.5} for one in ids],
        "block": [{"attribute": "material", "value": "brass"}],
        "require": [{"category": "lamp"}, {"category": "rug"}],
        "pin": [{"item_id": one, "position": place} for place, one in enumerate(ids, 1)],
    }
    session = {"items": [{"item_id": one} for one in ids], "exclude": ids, "user_id": user_id(1), "rules": rules}
    query = "&".join(f"{name}={str(value).lower()}" for name, value in EVERYTHING.items())
    users = [user_id(row) for row in range(min(BATCH_MAX, n_users))]
    clicks = [{"user_id": f"visitor-{n}", "item_id": one, "kind": "click"} for n, one in enumerate(ids * 2)]
    deep = f"offset={DEPTH_MAX - K_MAX}"

    def batches(body: Mapping[str, Any], sizes: Iterator[tuple[int, int]]) -> Sequence[tuple[str, bytes]]:
        return [
            (f"{n} users, k {k}", _post("/recommend/batch", {**body, "user_ids": users[:n], "k": k})) for n, k in sizes
        ]

    def gets(path: str) -> Sequence[tuple[str, bytes]]:
        return [(f"k {k}", raw(f"{path}&k={k}")) for k in _halves(K_MAX)]

    fewer_users, fewer_items = [(n, K_MAX) for n in _halves(BATCH_MAX)], [(BATCH_MAX, k) for k in _halves(K_MAX)]
    return (
        Caller("batch", batches(EVERYTHING, iter(fewer_users))),
        Caller("large batch", batches(EVERYTHING, iter(fewer_items))),
        Caller("plain batch", batches({}, iter(fewer_users))),
        Caller("batch with rules", batches({"rules": rules, **EVERYTHING}, iter(fewer_users))),
        Caller("session", [(f"k {k}", _post("/recommend", {**session, **EVERYTHING, "k": k})) for k in _halves(K_MAX)]),
        Caller("recommend", gets(f"/recommend/{user_id(2)}?{query}&{deep}")),
        Caller("similar", gets(f"/similar/{item_id(0)}?explain=true&{deep}")),
        Caller("popular", gets(f"/popular?category=lamp&require=material:oak&{deep}")),
        Caller("events", [("1,000", _post("/events", clicks))]),
        Caller("hostile bodies", [("1 MB of objects", _post("/events", [{}] * 349_000))]),
    )


def _post(path: str, body: Any) -> bytes:
    return raw(path, body=orjson.dumps(body))


def _halves(n: int) -> Iterator[int]:
    while n:
        yield n
        n //= 2


def _largest_accepted(service: Child, caller: Caller) -> tuple[str, bytes]:
    """The largest request of this kind that is answered, or the smallest if none is, and what it asks for."""
    for asked, request in caller.requests:
        if not closed_loop(service.port, iter([request]), connections=1, seconds=1).failures:
            return asked, request
    return caller.requests[-1]


def _press(port: int, request: bytes, callers: int, seconds: float) -> LoadResult:
    return closed_loop(port, itertools.repeat(request), connections=callers, seconds=seconds)


def _cheap(
    service: Child, requests: Iterator[bytes], rate: float, seconds: float, rng: np.random.Generator
) -> LoadResult:
    arrivals = poisson_arrivals(rate, seconds, rng)
    return open_arrivals(service.port, requests, arrivals, connections=CONNECTIONS)


def _by_cpu(service: Child, requests: Iterator[bytes], seconds: float) -> list[float]:
    """The server's CPU seconds from sending a request to its response, of one request after another."""
    found, end = [], time.perf_counter() + seconds
    with Pool(service.port, 1) as pool:
        while time.perf_counter() < end:
            time.sleep(PAUSE_S)
            before = cpu_seconds(service.pid)
            pool.send(pool.connections[0], next(requests), time.perf_counter())
            pool.responses(GIVE_UP_S)
            found.append(cpu_seconds(service.pid) - before)
    return found


def _row(name: str, found: LoadResult, by_cpu: list[float]) -> dict[str, Any]:
    p50, p99, most = np.percentile(found.latencies or [np.nan], (50, 99, 100)) * 1000
    cpu_p50, cpu_p99 = np.percentile(by_cpu, (50, 99)) * 1000
    numbers = {"p50_ms": p50, "p99_ms": p99, "max_ms": most, "cpu_p50_ms": cpu_p50, "cpu_p99_ms": cpu_p99}
    return {
        "beside": name,
        **{key: round(float(value), 1) for key, value in numbers.items()},
        "requests": len(found.latencies),
        "failed": found.failures,
    }


def _pressed(found: LoadResult) -> dict[str, Any]:
    return {
        "callers_median_s": round(float(np.median(found.latencies or [np.nan])), 3),
        "callers_requests": len(found.latencies),
        "callers_failed": found.failures,
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="latency of cheap requests")
    for name in rows[-1]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in rows[-1]))
    return table


if __name__ == "__main__":
    run_cli(app)
