"""`python -m benchmarks.shared_bundles measure`: memory of two bundles of one catalogue, apart and sharing files."""

import asyncio
import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from index.bundle import write_bundle
from index.cli import command_line, run_cli
from index.engine import use_threads
from index.paging import page_in
from index.registry import Registry
from loadtests.random_bundle import CREATED, RandomBundleSizes, random_content, retrained
from service.bundles.loaded import LoadedBundle, load_bundle
from service.bundles.open_published import open_verified
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup

EVERYTHING = 1 << 60  # bytes
NO_USERS = cast(UserLookup, None)  # no request is answered
CASES = {"none": 0, "one": 1, "two_apart": 2, "two_shared": 2}  # bundles in a process
COUNTED = {"rss_mb": "Rss", "pss_mb": "Pss", "anonymous_mb": "Anonymous"}

app = command_line()


@app.command()
def measure(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 200_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen.")] = 30,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    registry: Annotated[
        Path | None, typer.Option(help="Folder whose two newest bundles are measured. [default: random ones, minutes]")
    ] = None,
) -> None:
    """Load no bundle, one, two, and two that share, each in a process of its own with every page and cache filled.

    The second random bundle is the first one with other learned vectors. Prints one line of JSON: megabytes by case,
    and of each loaded bundle's files how many are shared.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if registry is None:
            registry = Path(temporary) / "registry"
            content = random_content(RandomBundleSizes(items, users, seen, size), np.random.default_rng(0))
            write_bundle(registry, content, created_at=CREATED)
            write_bundle(registry, retrained(content), created_at=CREATED + timedelta(seconds=1))
            del content
        typer.echo(json.dumps({case: _in_process(case, registry, temporary) for case in CASES}))


def _in_process(case: str, registry: Path, data: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.shared_bundles", "load", case, str(registry), data]
    result: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return result


@app.command(hidden=True)
def load(case: str, registry: Path, data: Path) -> None:
    """One case, in a process of its own."""
    use_threads(1)
    settings = Settings.model_validate({"registry": registry, "data": data, "gpu": "off", "item_cache": sys.maxsize})
    typer.echo(json.dumps(asyncio.run(_loaded(case, settings))))


async def _loaded(case: str, settings: Settings) -> dict[str, Any]:
    registry, loaded = Registry(Path(settings.registry)), list[LoadedBundle]()
    for bundle_id in registry.ids()[: CASES[case]]:
        others = loaded[:] if case == "two_shared" else []
        bundles = [one.bundle for one in others]
        opened = open_verified(registry, bundle_id, settings, verify=True, shared_with=bundles)
        loaded.append(load_bundle(opened.bundle, NO_USERS, settings, Metrics(), shared_with=others))
        await _fill(loaded[-1])
    files = [
        {"file_mb": _megabytes(one.bundle.file_bytes), "shared_mb": _megabytes(one.bundle.shared_bytes)}
        for one in loaded
    ]
    return {**_memory(), "bundles": files}


async def _fill(loaded: LoadedBundle) -> None:
    """Read every page, and build whatever requests build."""
    page_in(loaded.bundle, EVERYTHING)
    for by in loaded.similar_items.spaces:
        await loaded.similar_items.space(by)
    await loaded.facet_store.facets()
    for row in range(loaded.bundle.manifest.n_items):
        loaded.items.shown(row)


def _memory() -> dict[str, float]:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return {name: _megabytes(kilobytes[field] * 1024) for name, field in COUNTED.items()}


def _megabytes(n_bytes: int) -> float:
    return round(n_bytes / 1e6, 1)


if __name__ == "__main__":
    run_cli(app)
