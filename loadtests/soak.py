"""`python -m loadtests.soak`: does the service's memory stay what it is, over a million requests of every kind?"""

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
from loadtests.bench_servers import SHIPPED, ApiKey, available_cores, counted, running
from loadtests.load_client import Pool, TimedResponse, send_all
from loadtests.random_bundle import BundleSizes, publish_random
from loadtests.request_mix import MixRequest, request_mix

MEGABYTE = 1_000_000
LOOKS = 100  # at the memory, in equal steps
LOOKS_TOLD = 10  # one of so many is told
FULL = 0.98  # of what a cache may hold; the next answer may not fit into the rest
MOST_WARM_UPS = 10  # one after another, until every cache is full
CONNECTIONS = 16

app = command_line()


@dataclass(frozen=True)
class MemoryUse:
    """Of one process, in megabytes."""

    resident: float  # its own, and the files that are mapped into it as far as they were touched
    own: float


@dataclass
class SoakResult:
    """What was answered, and the memory that the service held meanwhile, from before the first request on."""

    memory: list[MemoryUse] = field(default_factory=list)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)  # by kind and status
    failures: Counter[tuple[str, int]] = field(default_factory=Counter)  # those with another status than expected
    asked: int = 0
    seconds: float = 0.0

    def add(self, asked: MixRequest, status: int) -> None:
        """Count one answer; status 0 is one that never came."""
        self.asked += 1
        self.answers[asked.kind, status] += 1
        if status != asked.status:
            self.failures[asked.kind, status] += 1

    @property
    def milestones(self) -> dict[str, MemoryUse]:
        """The memory by when it was looked at."""
        most = max(self.memory, key=lambda one: one.resident)
        start, middle, end = (self.memory[i] for i in (0, len(self.memory) // 2, -1))
        return {"start": start, "middle": middle, "end": end, "most": most}

    @property
    def growth_mb(self) -> float:
        """By how much resident memory was larger in the middle or at the end than at the start."""
        found = self.milestones
        return max(found["middle"].resident, found["end"].resident) - found["start"].resident


@app.command()
def soak(
    *,
    requests: Annotated[int, typer.Option(min=100, help="How many are asked while memory is looked at.")] = 1_000_000,
    warm_up: Annotated[int, typer.Option(min=0, help="How many before, again until every cache is full.")] = 100_000,
    most_growth_mb: Annotated[
        float, typer.Option(min=0, help="Megabytes by which resident memory may grow after the warm-up.")
    ] = 10.0,
    items: Annotated[int, typer.Option(min=31, help="Items of the random bundle.")] = 20_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 100_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    connections: Annotated[int, typer.Option(min=1, help="Keep-alive connections.")] = CONNECTIONS,
    seed: Annotated[int, typer.Option(help="Of the bundle and of the requests.")] = 0,
) -> None:
    """Ask at full speed, with and without explanations, similar items, events, unknown ids, refusals of every kind.

    Prints how full the service's caches are after the warm-up, how much memory it holds then, in the middle and at the
    end, and every answer by its status; then one line of JSON. The exit status is 1 where memory grew by more than it
    may, or where an answer had another status than it should.

    Example: python -m loadtests.soak --requests 20000 --warm-up 5000 --users 2000
    """
    end_by_signals()
    sizes = BundleSizes(items, users, seen, size)
    with tempfile.TemporaryDirectory(prefix="anchorrec-soak-") as folder:
        registry, key = Path(folder) / "bundles", ApiKey.made(Path(folder) / "keys.jsonl")
        publish_random(registry, sizes, np.random.default_rng(seed))
        with running(registry, available_cores(), key, (SHIPPED,)) as servers:
            service, asked = servers.children[SHIPPED], request_mix(sizes, key.key, random.Random(seed))
            warmed_up = fill_caches(service, asked, warm_up, connections=connections)
            full, found = fullness(service), SoakResult()
            with suppress(KeyboardInterrupt):  # whoever ends it early still gets to know what was found
                fill(found, service, asked, requests, connections=connections, what="asking")
    Console(width=100).print(caches_line(warmed_up, full), memory_table(found), answers_table(found))
    record = {
        "soak": requests,
        "warm_up": warmed_up,
        "caches_full": full,
        **asdict(sizes),
        "connections": connections,
        "requests_per_second": round(found.asked / found.seconds),
        "memory_mb": {when: asdict(one) for when, one in found.milestones.items()},
        "resident_mb": [one.resident for one in found.memory[::LOOKS_TOLD]],
        "growth_mb": round(found.growth_mb, 1),
        "most_growth_mb": most_growth_mb,
        "answers": _by_name(found.answers),
        "failures": _by_name(found.failures),
        "never_asked": requests - found.asked,
    }
    typer.echo(orjson.dumps(record).decode())
    if found.growth_mb > most_growth_mb or found.failures or found.asked < requests:
        raise typer.Exit(1)


def fill_caches(service: Child, asked: Iterator[MixRequest], n: int, *, connections: int) -> int:
    """Ask n requests again and again until every cache is full, and once more. How many were asked.

    A cache that fills looks like a leak, and so does one that has just become full: its tables grow once more.
    """
    for times in range(MOST_WARM_UPS):
        was_full = min(fullness(service).values()) >= FULL
        fill(SoakResult(), service, asked, n, connections=connections, what="warming up")
        if was_full:
            return (times + 1) * n
    return MOST_WARM_UPS * n


def fullness(service: Child) -> dict[str, float]:
    """Which share each cache holds of what it may, by the service's own metrics."""
    most = counted(service, "reco_limit", "of")
    return {
        of: round(held / most[f"{of}_bytes"], 3) if most[f"{of}_bytes"] else 1.0
        for of, held in counted(service, "reco_kept_bytes", "of").items()
    }


def fill(
    found: SoakResult, service: Child, asked: Iterator[MixRequest], n: int, *, connections: int, what: str
) -> None:
    """Ask the next n requests, and look at the service's memory meanwhile."""
    step, began = max(1, n // LOOKS), perf_counter()
    found.memory.append(memory(service.pid))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=n)

        def answered(one: MixRequest, answer: TimedResponse) -> None:
            found.add(one, answer.status)
            if found.asked % step == 0:
                found.memory.append(memory(service.pid))
                progress.update(task, completed=found.asked)
            if found.asked % (step * LOOKS_TOLD) == 0:
                progress.console.print(f"{what}: {found.asked:,} of {n:,}, {found.memory[-1].resident:.1f} MB resident")

        try:
            with Pool(service.port, connections) as pool:
                send_all(pool, islice(asked, n), message=attrgetter("request"), on_response=answered)
        finally:
            found.seconds = perf_counter() - began


def memory(pid: int) -> MemoryUse:
    """What the process holds now."""
    found = psutil.Process(pid).memory_info()
    return MemoryUse(round(found.rss / MEGABYTE, 1), round((found.rss - found.shared) / MEGABYTE, 1))


def caches_line(warmed_up: int, full: Mapping[str, float]) -> str:
    """How full the caches were when memory was first looked at."""
    caches = ", ".join(f"{of} {share:.0%}" for of, share in full.items())
    return f"caches after {warmed_up:,} requests of warm-up: {caches} full"


def memory_table(found: SoakResult) -> Table:
    """The memory by when it was looked at."""
    table = Table("memory of the service", title=f"{found.asked:,} requests", title_justify="left")
    for when in found.milestones:
        table.add_column(when, justify="right")
    table.add_row("resident", *(f"{one.resident:.1f} MB" for one in found.milestones.values()))
    table.add_row("without mapped files", *(f"{one.own:.1f} MB" for one in found.milestones.values()))
    return table


def answers_table(found: SoakResult) -> Table:
    """How often each kind of request was answered with which status."""
    table = Table("request", "status")
    for heading in ("answers", "failed"):
        table.add_column(heading, justify="right")
    for (kind, status), n in sorted(found.answers.items()):
        table.add_row(kind, str(status or "none"), f"{n:,}", f"{found.failures[kind, status]:,}")
    return table


def _by_name(counts: Counter[tuple[str, int]]) -> dict[str, int]:
    return {f"{kind}: {status}": n for (kind, status), n in sorted(counts.items())}


if __name__ == "__main__":
    run_cli(app)
