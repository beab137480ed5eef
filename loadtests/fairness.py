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

import httpx
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
    """A kind of expensive request, and how it shrinks until the service accepts it."""

    name: str
    path: str
    body: Mapping[str, Any] | None  # None: a GET, whose options are in the path
    sizes: tuple[tuple[int, int], ...]  # users and k, the largest first


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
                for caller in _callers():
                    if kind is None or caller.name in kind:
                        request, asked = _largest_accepted(service, caller)
                        pressed = pool.submit(_press, service.port, request, callers, HEAD_START_S + 2 * seconds)
                        time.sleep(HEAD_START_S)
                        found = _cheap(service, cheap, rate, seconds, rng)
                        row = _row(f"{caller.name} ({asked})", found, _by_cpu(service, cheap, seconds))
                        rows.append({**row, **_pressed(pressed.result())})
    Console(width=160).print(_table(rows))
    typer.echo(orjson.dumps({"items": items, "callers": callers, "rate": rate, "rows": rows}).decode())


def _callers() -> Sequence[Caller]:
    ids = [item_id(row) for row in range(ENTRIES_MAX)]
    rules = {
        "boost": [{"item_id": one, "by": 0.5} for one in ids],
        "block": [{"attribute": "material", "value": "brass"}],
        "require": [{"category": "lamp"}, {"category": "rug"}],
        "pin": [{"item_id": one, "position": place} for place, one in enumerate(ids, 1)],
    }
    session = {"items": [{"item_id": one} for one in ids], "exclude": ids, "user_id": user_id(1)}
    query = "&".join(f"{name}={str(value).lower()}" for name, value in EVERYTHING.items())
    one_user = tuple((1, k) for k in _halves(K_MAX))
    batches = tuple((n, K_MAX) for n in _halves(BATCH_MAX)) + one_user[1:]
    return (
        Caller("batch", "/recommend/batch", EVERYTHING, batches),
        Caller("large batch", "/recommend/batch", EVERYTHING, tuple((BATCH_MAX, k) for k in _halves(K_MAX))),
        Caller("plain batch", "/recommend/batch", {}, batches),
        Caller("batch with rules", "/recommend/batch", {"rules": rules, **EVERYTHING}, batches),
        Caller("session", "/recommend", {"rules": rules, **session, **EVERYTHING}, one_user),
        Caller("recommend", f"/recommend/{user_id(2)}?{query}&offset={DEPTH_MAX - K_MAX}", None, one_user),
        Caller("similar", f"/similar/{item_id(0)}?explain=true&offset={DEPTH_MAX - K_MAX}", None, one_user),
        Caller("popular", f"/popular?category=lamp&require=material:oak&offset={DEPTH_MAX - K_MAX}", None, one_user),
    )


def _halves(n: int) -> Iterator[int]:
    while n:
        yield n
        n //= 2


def _largest_accepted(service: Child, caller: Caller) -> tuple[bytes, str]:
    """The largest request of this kind that the service does not refuse, and what it is for."""
    for n_users, k in caller.sizes:
        users = {"user_ids": [user_id(row) for row in range(n_users)]} if "batch" in caller.path else {}
        body = None if caller.body is None else orjson.dumps({**caller.body, **users, "k": k})
        path = caller.path if body is not None else f"{caller.path}&k={k}"
        found = service.client.request("GET" if body is None else "POST", path, content=body, timeout=120)
        if found.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            return raw(path, body=body), f"{n_users} users, k {k}"
    raise AssertionError(f"{caller.name}: {found.text}")


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
