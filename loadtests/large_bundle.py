"""`python -m loadtests.large_bundle measure`: memory and time to write, open and serve a bundle of millions."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, overload

import numpy as np
import typer

from index.bundle import Bundle, BundleContent, open_bundle, write_bundle
from index.cli import command_line, run_cli
from index.engine import use_threads
from index.registry import Registry
from index.tables import Precision
from loadtests import bench_start
from loadtests.random_bundle import CREATED, RandomBundleSizes, item_id, random_seen, user_id

T = TypeVar("T")
Array = np.ndarray[Any, Any]

USERS_AT_ONCE = 65_536
SEARCHES = 20
K = 20

app = command_line()


@dataclass(frozen=True)
class Lazy(Sequence[T], Generic[T]):
    """n values, each made when it is read."""

    make: Callable[[int], T]
    n: int

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[T]: ...
    def __getitem__(self, row: int | slice) -> T | Sequence[T]:
        return self.make(row) if isinstance(row, int) else [self.make(one) for one in range(self.n)[row]]


@app.command()
def measure(
    *,
    items: Annotated[int, typer.Option(min=2, help="Items.")] = 10_000_000,
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 10_000_000,
    seen: Annotated[int, typer.Option(min=1, help="Items that each user has seen.")] = 10,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the embeddings.")] = 64,
    precision: Annotated[Precision, typer.Option(help="Of users' vectors, parts and fold-in.")] = "int8",
    factory: Annotated[str, typer.Option(help="FAISS factory string of the index.")] = "Flat",
    folder: Annotated[Path | None, typer.Option(help="Folder that has room. [default: the system's]")] = None,
) -> None:
    """Write, open, search and serve a random bundle, in processes of their own; print seconds and peak memory.

    Each step but the first comes twice: then files are in the system's memory, and a start finds the sums verified.
    The bundle's one part and its fold-in are the item embeddings, and users have no own term.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        sizes = (items, users, seen, size)
        written = _in_process("write", temporary, *sizes, precision, factory)
        typer.echo(json.dumps({"write": written}))
        for _ in range(2):
            typer.echo(json.dumps({"open": _in_process("open", written["path"])}))
        Registry(Path(temporary)).publish(Path(written["path"]).name)
        for _ in range(2):
            typer.echo(json.dumps({"start": bench_start.start(Path(temporary), Path(temporary) / "data")}))


def _in_process(step: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.large_bundle", "step", step, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@app.command(hidden=True)
def step(name: str, arguments: list[str]) -> None:
    """One step, in a process of its own, so that its peak of memory is its own."""
    use_threads(1)
    result = _write(*arguments) if name == "write" else _open(Path(arguments[0]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    typer.echo(json.dumps(result | {"peak_mb": peak // 1024}))


def _write(folder: str, *options: Any) -> dict[str, Any]:
    began = time.perf_counter()
    *numbers, precision, factory = options
    n_items, n_users, seen, size = map(int, numbers)
    content = large_content(RandomBundleSizes(n_items, n_users, seen, size), np.random.default_rng(0))
    made = time.perf_counter()
    path = write_bundle(Path(folder), content, created_at=CREATED, factory=factory, precision=precision)
    n_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    took = {"made_s": round(made - began, 1), "written_s": round(time.perf_counter() - made, 1)}
    return {"path": str(path), "gb": round(n_bytes / 1e9, 2), **took}


def _open(path: Path) -> dict[str, Any]:
    began = time.perf_counter()
    bundle = open_bundle(path, verify=False)
    opened = time.perf_counter()
    bundle.index()
    ready = time.perf_counter()
    rows = np.linspace(0, len(bundle.user_ids) - 1, SEARCHES).astype(np.int64).tolist()
    seconds = [_search_s(bundle, row) for row in rows]
    anonymous = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return {
        "open_s": round(opened - began, 2),
        "index_s": round(ready - opened, 2),
        "search_ms": round(1000 * float(np.median(seconds)), 1),
        "anonymous_mb": int(anonymous.split()[1]) // 1024,
    }


def _search_s(bundle: Bundle, row: int) -> float:
    start = time.perf_counter()
    bundle.index().search(bundle.user_embeddings[row], K, bundle.seen(row))
    return time.perf_counter() - start


def large_content(sizes: RandomBundleSizes, rng: np.random.Generator) -> BundleContent:
    """A random content whose largest arrays are the two embedding tables and the seen items."""
    items = rng.standard_normal((sizes.n_items, sizes.embedding_size), dtype=np.float32)
    seen = random_seen(sizes, rng)  # (n_users, seen_per_user)
    users = np.empty((sizes.n_users, sizes.embedding_size), np.float32)
    for start in range(0, sizes.n_users, USERS_AT_ONCE):
        chosen = items[seen[start : start + USERS_AT_ONCE]]  # (u, seen_per_user, d)
        users[start : start + USERS_AT_ONCE] = chosen.sum(axis=1) / np.sqrt(np.float32(sizes.seen_per_user))
    counts = np.bincount(seen.ravel(), minlength=sizes.n_items)
    return BundleContent(
        model="random",
        config={},
        data_fingerprint="0" * 64,
        seed=0,
        metrics={},
        user_ids=Lazy(user_id, sizes.n_users),
        item_ids=Lazy(item_id, sizes.n_items),
        user_embeddings=users,
        item_embeddings=items,
        item_parts={"id": items},
        fold_in=items,
        user_own=None,
        seen_offsets=np.arange(sizes.n_users + 1, dtype=np.int64) * sizes.seen_per_user,
        seen_items=seen.ravel(),
        popularity_count=counts.astype(np.int64),
        popularity_trend=counts.astype(np.float32),
        neighbours={},
        items=Lazy(_item, sizes.n_items),
    )


def _item(row: int) -> dict[str, Any]:
    return {"title": f"item no. {row}", "category": "chair", "attributes": {}, "image": None}


if __name__ == "__main__":
    run_cli(app)
