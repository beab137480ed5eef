"""`python -m loadtests.bench_start`: how long from the start of the process until it is ready, by the bundle's size."""

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
from loadtests.random_bundle import BundleSizes, publish_random

LONGEST_S = 120.0
LOOK_S = 0.005

app = command_line()


@app.command()
def bench_start(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items of the random bundle.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users of the random bundle.")] = 1_000_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    registry: Annotated[
        Path | None, typer.Option(help="Start on what is published there; else a random bundle is made, in minutes.")
    ] = None,
    starts: Annotated[int, typer.Option(min=1, help="How often the process is started.")] = 5,
) -> None:
    """Start the service again and again; print, for each start, seconds until /readyz answers, and the CPU used."""
    with tempfile.TemporaryDirectory() as temporary:
        if registry is None:
            registry = Path(temporary)
            publish_random(registry, BundleSizes(items, users, seen, size), np.random.default_rng(0))
        found = [start(registry, Path(temporary) / "data") for _ in range(starts)]
    typer.echo(orjson.dumps(found).decode())


def start(registry: Path, data: Path) -> dict[str, float]:
    """One start: seconds until the service is ready, the CPU seconds of it until then, and its resident megabytes."""
    port = free_port()
    settings: Mapping[str, object] = {"RECO_REGISTRY": registry, "RECO_DATA": data, "RECO_PORT": port}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "service", "run"], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", process)
        seconds, looked_at = time.perf_counter() - begun, psutil.Process(process.pid)
        times = looked_at.cpu_times()
        return {
            "ready_s": round(seconds, 3),
            "cpu_s": times.user + times.system,
            "rss_mb": round(looked_at.memory_info().rss / 1e6),
        }
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(LOOK_S)
    raise RuntimeError(f"not ready within {LONGEST_S:g} s, or ended: status {process.poll()}")


if __name__ == "__main__":
    run_cli(app)
