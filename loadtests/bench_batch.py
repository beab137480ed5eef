"""`python -m loadtests.bench_batch`: how long `python -m service batch` takes for everybody's lists."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from rich.console import Console

from index.bundle import open_bundle
from index.cli import command_line, run_cli
from index.errors import InputError
from index.ranking import exact_search
from index.registry import Registry
from loadtests.random_bundle import RandomBundleSizes, publish_random, user_id

USERS, TENTH = 1_000_000, 100_000
CHECKED = 50  # users whose lists are compared with exact search
MEGABYTE = 2**20

app = command_line()


@app.command()
def bench_batch(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="A million users; without, a tenth and a straight line.")
    ] = False,
    users: Annotated[int | None, typer.Option(min=CHECKED, help="Users [default: a tenth of a million].")] = None,
    items: Annotated[int, typer.Option(min=100, help="Items of the bundle.")] = 100_000,
    size: Annotated[int, typer.Option(min=2, help="Dimensions of its embeddings.")] = 64,
    k: Annotated[int, typer.Option(min=1, help="Items of each list.")] = 20,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes [default: usable cores].")] = None,
) -> None:
    """Make the lists of all users of a random bundle, 30 seen items each; print what it took as a line of JSON."""
    n_users, n_workers = USERS if full else users or TENTH, workers or len(os.sched_getaffinity(0))
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="anchorrec-bench-") as folder:
        registry, out = Path(folder) / "bundles", Path(folder) / "lists.parquet"
        console.print(f"writing a bundle of {n_users:,} users and {items:,} items")
        publish_random(registry, RandomBundleSizes(items, n_users, embedding_size=size), np.random.default_rng(0))
        seconds, cpu, peak = _run(registry, out, k, n_workers)
        _check(registry, out, k)
        found = {
            "users": n_users,
            "items": items,
            "size": size,
            "k": k,
            "workers": n_workers,
            "seconds": round(seconds, 1),
            "seconds_for_a_million_users": round(seconds * USERS / n_users, 1),
            "cpu_seconds": round(cpu, 1),
            "cpu_ms_a_user": round(cpu / n_users * 1e3, 3),
            "peak_mb_of_a_process": round(peak),
            "file_mb": round(out.stat().st_size / MEGABYTE),
            "lists_checked": CHECKED,
        }
    typer.echo(json.dumps(found))


def _run(registry: Path, out: Path, k: int, workers: int) -> tuple[float, float, float]:
    """Run the command; return its seconds, those of CPU, and the megabytes of its largest process."""
    command = [sys.executable, "-m", "service", "batch", "--users", "all", "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECO_")}
    started, before = time.monotonic(), _children()
    done = subprocess.run(
        [*command, "--k", str(k), "--workers", str(workers)],
        env=environment | {"RECO_REGISTRY": str(registry), "RECO_VERIFY_BUNDLE": "off"},
        check=False,
    )
    if done.returncode:
        raise InputError(f"the command ended with {done.returncode}")
    after = _children()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu, after.ru_maxrss * 1024 / MEGABYTE


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _check(registry: Path, out: Path, k: int) -> None:
    """InputError where a list differs from exact search."""
    bundle = open_bundle(Registry(registry).current(), verify=False)
    users = np.linspace(0, len(bundle.user_ids) - 1, CHECKED).astype(np.int64).tolist()
    found: dict[str, list[Any]] = {}
    table = pq.read_table(out, filters=[("user_id", "in", [user_id(row) for row in users])])
    for one in table.to_pylist():
        found.setdefault(one["user_id"], []).append((one["item_id"], one["score"]))
    for row in users:
        rows, scores = exact_search(bundle.item_embeddings, bundle.user_embeddings[row], k, bundle.seen(row))
        expected = [(bundle.item_ids[item], float(score)) for item, score in zip(rows[0], scores[0], strict=True)]
        if found.get(user_id(row)) != expected:
            raise InputError(f"the list of {user_id(row)} differs from exact search")


if __name__ == "__main__":
    run_cli(app)
