"""`python -m loadtests.soak`: does the service's memory stay constant over a million requests of every kind?"""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import orjson
import psutil
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.processes import Child, end_by_signals
from index.cli import command_line, run_cli
from loadtests.bench_servers import SHIPPED, BenchKey, available_cores, read_counters, running
from loadtests.load_client import Pool, TimedResponse, send_all
from loadtests.random_bundle import RandomBundleSizes, publish_random
from loadtests.request_mix import MixRequest, request_mix

MEGABYTE = 1_000_000
SAMPLES = 100  # of the memory, in equal steps
SAMPLES_PER_LINE = 10  # between two lines of progress
FULL = 0.98  # of a cache's limit; the next response may not fit into the rest
MOST_WARM_UPS = 10  # repetitions, until every cache is full
CONNECTIONS = 16

app = command_line()


@dataclass(frozen=True)
class MemoryUse:
    """The memory of a process, in megabytes."""

    resident: float  # including the resident part of mapped files
    own: float  # without mapped files


@dataclass
class SoakResult:
    """The responses by kind and status, and samples of the service's memory from the first request on."""

    memory: list[MemoryUse] = field(default_factory=list)
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)  # by kind and status
    failures: Counter[tuple[str, int]] = field(default_factory=Counter)  # those with an unexpected status
    requests: int = 0
    seconds: float = 0.0

    def add(self, request: MixRequest, status: int) -> None:
        """Count one response; status 0 stands for one that never arrived."""
        self.requests += 1
        self.responses[request.kind, status] += 1
        if status != request.status:
            self.failures[request.kind, status] += 1

    @property
    def milestones(self) -> dict[str, MemoryUse]:
        """Memory at the start, in the middle, at the end, and at its maximum."""
        most = max(self.memory, key=lambda one: one.resident)
        start, middle, end = (self.memory[i] for i in (0, len(self.memory) // 2, -1))
        return {"start": start, "middle": middle, "end": end, "most": most}

    @property
    def growth_mb(self) -> float:
        """Growth of resident memory from the start to the larger of middle and end."""
        found = self.milestones
        return max(found["middle"].resident, found["end"].resident) - found["start"].resident

    def passes(self, requests: int, most_growth_mb: float) -> bool:
        """Return whether all requests were sent and succeeded, and memory grew by no more than allowed."""
        return self.requests >= requests and not self.failures and self.growth_mb <= most_growth_mb


@app.command()
def soak(
    *,
    requests: Annotated[int, typer.Option(min=100, help="Requests while memory is measured.")] = 1_000_000,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests before, repeated until every cache is full.")] = 100_000,
    most_growth_mb: Annotated[
        float, typer.Option(min=0, help="Megabytes by which resident memory may grow after the warm-up.")
    ] = 10.0,
    items: Annotated[int, typer.Option(min=31, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seen: Annotated[int, typer.Option(min=1, help="Seen items of each user.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections.")] = CONNECTIONS,
    seed: Annotated[int, typer.Option(help="Of the bundle and of the requests.")] = 0,
) -> None:
    """Send a mix of recommendations, explanations, similar items, events, unknown ids and errors at full speed.

    Prints how full the service's caches are after the warm-up, its memory then, in the middle and at the end, and the
    number of responses by status; then one line of JSON. The exit status is 1 where memory grew by more than allowed,
    or where a response had an unexpected status.

    Example: python -m loadtests.soak --requests 20000 --warm-up 5000 --users 2000
    """
    end_by_signals()
    sizes = RandomBundleSizes(items, users, seen, size)
    with tempfile.TemporaryDirectory(prefix="anchorrec-soak-") as folder:
        registry, key = Path(folder) / "bundles", BenchKey.create(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, np.random.default_rng(seed))
        with running(registry, available_cores(), key, (SHIPPED,), baseline=False) as servers:
            service, mix = servers.children[SHIPPED], request_mix(sizes, key.key, random.Random(seed))
            warmed_up = fill_caches(service, mix, warm_up, connections=connections)
            full, found = fullness(service), SoakResult()
            with suppress(KeyboardInterrupt):  # a run that is ended early still reports what it found
                send(found, service, mix, requests, connections=connections, what="sending")
    Console(width=100).print(caches_line(warmed_up, full), memory_table(found), responses_table(found))
    record = {
        "soak": requests,
        "warm_up": warmed_up,
        "caches_full": full,
        **asdict(sizes),
        "connections": connections,
        "requests_per_second": round(found.requests / found.seconds),
        "memory_mb": {when: asdict(one) for when, one in found.milestones.items()},
        "resident_mb": [one.resident for one in found.memory[::SAMPLES_PER_LINE]],
        "growth_mb": round(found.growth_mb, 1),
        "most_growth_mb": most_growth_mb,
        "answers": _by_name(found.responses),
        "failures": _by_name(found.failures),
        "never_asked": requests - found.requests,
    }
    typer.echo(orjson.dumps(record).decode())
    if not found.passes(requests, most_growth_mb):
        raise typer.Exit(1)


def fill_caches(service: Child, mix: Iterator[MixRequest], n: int, *, connections: int) -> int:
    """Send n requests repeatedly until every cache is full, and once more; return the number of requests.

    A cache that fills looks like a leak, and so does one that has just become full: its tables grow once more.
    """
    for repetition in range(MOST_WARM_UPS):
        was_full = min(fullness(service).values()) >= FULL
        send(SoakResult(), service, mix, n, connections=connections, what="warming up")
        if was_full:
            return (repetition + 1) * n
    return MOST_WARM_UPS * n


def fullness(service: Child) -> dict[str, float]:
    """Return the share of its limit that each cache holds, from the service's metrics."""
    most = read_counters(service, "reco_limit", "of")
    return {
        of: round(held / most[f"{of}_bytes"], 3) if most[f"{of}_bytes"] else 1.0
        for of, held in read_counters(service, "reco_kept_bytes", "of").items()
    }


def send(found: SoakResult, service: Child, mix: Iterator[MixRequest], n: int, *, connections: int, what: str) -> None:
    """Send the next n requests and sample the service's memory meanwhile."""
    step, began = max(1, n // SAMPLES), perf_counter()
    found.memory.append(memory(service.pid))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=n)

        def count(request: MixRequest, response: TimedResponse) -> None:
            found.add(request, response.status)
            if found.requests % step == 0:
                found.memory.append(memory(service.pid))
                progress.update(task, completed=found.requests)
            if found.requests % (step * SAMPLES_PER_LINE) == 0:
                resident = found.memory[-1].resident
                progress.console.print(f"{what}: {found.requests:,} of {n:,}, {resident:.1f} MB resident")

        try:
            with Pool(service.port, connections) as pool:
                send_all(pool, islice(mix, n), message=attrgetter("request"), on_response=count)
        finally:
            found.seconds = perf_counter() - began


def memory(pid: int) -> MemoryUse:
    """Measure the memory of a process."""
    found = psutil.Process(pid).memory_info()
    return MemoryUse(round(found.rss / MEGABYTE, 1), round((found.rss - found.shared) / MEGABYTE, 1))


def caches_line(warmed_up: int, full: Mapping[str, float]) -> str:
    """Return a line about how full the caches were after the warm-up."""
    caches = ", ".join(f"{of} {share:.0%}" for of, share in full.items())
    return f"caches after {warmed_up:,} requests of warm-up: {caches} full"


def memory_table(found: SoakResult) -> Table:
    """Return a table of the memory at the milestones."""
    table = Table("memory of the service", title=f"{found.requests:,} requests", title_justify="left")
    for when in found.milestones:
        table.add_column(when, justify="right")
    table.add_row("resident", *(f"{one.resident:.1f} MB" for one in found.milestones.values()))
    table.add_row("without mapped files", *(f"{one.own:.1f} MB" for one in found.milestones.values()))
    return table


def responses_table(found: SoakResult) -> Table:
    """Return a table of the number of responses by kind and status."""
    table = Table("request", "status")
    for heading in ("responses", "failed"):
        table.add_column(heading, justify="right")
    for (kind, status), n in sorted(found.responses.items()):
        table.add_row(kind, str(status or "none"), f"{n:,}", f"{found.failures[kind, status]:,}")
    return table


def _by_name(counts: Counter[tuple[str, int]]) -> dict[str, int]:
    return {f"{kind}: {status}": n for (kind, status), n in sorted(counts.items())}


if __name__ == "__main__":
    run_cli(app)
