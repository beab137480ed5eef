"""`python -m loadtests.bench_start`: the time from the start of the service until it is ready."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import orjson
import psutil
import typer

from deploy.processes import free_port
from index.cli import command_line, run_cli
from loadtests.random_bundle import RandomBundleSizes, publish_random

TIMEOUT_S = 120.0
POLL_S = 0.005

app = command_line()


@app.command()
def bench_start(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 1_000_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    registry: Annotated[
        Path | None, typer.Option(help="Folder of published bundles. [default: a random bundle, made in minutes]")
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="Number of starts.")] = 5,
) -> None:
    """Start the service several times; print seconds until /readyz returns 200, CPU seconds and memory of each."""
    with tempfile.TemporaryDirectory() as temporary:
        if registry is None:
            registry = Path(temporary)
            publish_random(registry, RandomBundleSizes(items, users, seen, size), np.random.default_rng(0))
        starts_measured = [start(registry, Path(temporary) / "data") for _ in range(starts)]
    typer.echo(orjson.dumps(starts_measured).decode())


def start(registry: Path, data: Path) -> dict[str, float]:
    """Start the service once; return seconds until ready, CPU seconds until then, resident and anonymous megabytes."""
    port = free_port()
    settings: Mapping[str, object] = {"RECO_REGISTRY": registry, "RECO_DATA": data, "RECO_PORT": port}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "service", "run"], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", process)
        seconds, found = time.perf_counter() - began, psutil.Process(process.pid)
        times, memory = found.cpu_times(), found.memory_info()
        return {
            "ready_s": round(seconds, 3),
            "cpu_s": times.user + times.system,
            "rss_mb": round(memory.rss / 1e6),
            "anonymous_mb": round((memory.rss - memory.shared) / 1e6),
        }
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(POLL_S)
    raise RuntimeError(f"not ready within {TIMEOUT_S:g} s, or ended: status {process.poll()}")


if __name__ == "__main__":
    run_cli(app)
