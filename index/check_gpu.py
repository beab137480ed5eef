"""`python -m index.check_gpu`: runs on a GPU all that docs/gpu.md lists as not run; `make check-gpu` calls it."""

import gc
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from index.batching import BatchingSearcher
from index.cli import command_line, run_cli
from index.errors import InputError
from index.gpu import n_gpus, place_index, place_on_all
from index.gpu_names import missing_kinds, wrong_names
from index.item_index import ItemIndex

N, SIZE, N_QUERIES, K = 200_000, 64, 256, 20
KINDS = ("Flat", "IVF1024,Flat", "IVF1024,SQfp16")
RECALL = 0.99  # of a float16 or approximate index on the GPU against the same one on the CPU
SWAPS = 10
LEAK_SHARE = 1.5  # of one index that may remain in use after all swaps

app = command_line()
console = Console(highlight=False, soft_wrap=True)


@app.command()
def check_gpu(
    wheel: Annotated[Path | None, typer.Option(help="A wheel of faiss-gpu, whose names are checked first.")] = None,
) -> None:
    """Check names, search, threads, swaps and memory on every GPU that FAISS sees.

    Ends with status 1 where a check fails, and with 2 where there is no GPU.
    """
    if wheel is not None:
        _check_names(wheel)
    if not n_gpus():
        raise InputError("FAISS sees no GPU here, so nothing was run on one; it needs the extra gpu and a driver")
    results = [_passed(name, check) for name, check in _checks()]
    if not all(results):
        raise typer.Exit(1)


def _check_names(wheel: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="anchorrec-wheel-") as folder, zipfile.ZipFile(wheel) as archive:
        for name in ("faiss/swigfaiss.py", "faiss/gpu_wrappers.py"):
            archive.extract(name, folder)
        wrong, missing = wrong_names(Path(folder) / "faiss"), missing_kinds(Path(folder) / "faiss")
    if wrong:
        raise InputError(f"{wheel.name}: {'; '.join(wrong)}")
    console.print(f"passed: the names in {wheel.name}", *(f"({one})" for one in missing))


def _passed(name: str, check: Callable[[], str]) -> bool:
    try:
        console.print(f"passed: {name}", check())
    except AssertionError as error:
        console.print(f"FAILED: {name}: {error}")
        return False
    return True


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((N, SIZE), dtype=np.float32)
    queries = rng.standard_normal((N_QUERIES, SIZE), dtype=np.float32)
    for kind in KINDS:
        index = ItemIndex.build(vectors, kind)
        for float16 in (False, True):
            for device in range(n_gpus()):
                name = f"{kind}, gpu:{device}{', float16' if float16 else ''}"
                yield (
                    name,
                    lambda index=index, device=device, f=float16: _agrees(  # type: ignore[misc]
                        place_index(index, allow_gpu=True, device=device, float16=f), index, queries
                    ),
                )
    flat = ItemIndex.build(vectors)
    yield "replicas, searched by many threads", lambda: _threads_agree(flat, queries)
    if n_gpus() > 1:
        yield "shards", lambda: _agrees(place_on_all(flat, spread="shards")[0], flat, queries)
    else:
        console.print("not run: shards, as there is one GPU")
    yield f"{SWAPS} swaps", lambda: _swaps_free_memory(flat, queries)


def _agrees(placed: ItemIndex, cpu: ItemIndex, queries: Any) -> str:
    assert placed is not cpu, "the index stayed on the CPU"
    found, expected = placed.search(queries, K)[0], cpu.search(queries, K)[0]
    recall = float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, expected, strict=True)]))
    assert recall >= RECALL, f"recall {recall:.3f} against the CPU, expected {RECALL}"
    long = placed.search(queries[:2], 5_000)[0]
    assert long.shape[1] == 5_000, "a list of 5,000 rows was cut"
    return f"(recall {recall:.4f} against the CPU)"


def _threads_agree(cpu: ItemIndex, queries: Any) -> str:
    first, *replicas = place_on_all(cpu, spread="replicas")
    searcher = BatchingSearcher(first, replicas=replicas, gather_s=0.001)
    try:
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda query: searcher.submit(query, K).result()[0], queries))
    finally:
        searcher.close()
    expected = cpu.search(queries, K)[0]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)), "lists differ"
    return f"(on {1 + len(replicas)} GPUs)"


def _swaps_free_memory(cpu: ItemIndex, queries: Any) -> str:
    """Each swap drops the index before it after its last search."""
    used = []
    for _ in range(SWAPS):
        searcher = BatchingSearcher(place_index(cpu, allow_gpu=True))
        last = [searcher.submit(query, K) for query in queries]
        searcher.close()
        assert all(len(one.result()[0]) == K for one in last), "a search before the swap has no result"
        del searcher, last
        gc.collect()
        used.append(_used_mib())
    grown = used[-1] - used[0]
    limit = LEAK_SHARE * cpu.vectors.nbytes / 2**20
    assert grown <= limit, f"{grown} MiB more in use after {SWAPS} swaps, expected at most {limit:.0f}"
    return f"({grown} MiB more in use after the last than after the first)"


def _used_mib() -> int:
    command = ("nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    run_cli(app)
