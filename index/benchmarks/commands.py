"""The commands `bench-kinds`, `bench-filters` and `bench-delta` of `python -m index`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from index.benchmarks.clustered_vectors import clustered_vectors
from index.benchmarks.delta_benchmark import measure_delta
from index.benchmarks.filter_benchmark import filter_cases, measure_filters
from index.benchmarks.kinds_benchmark import FLOOR, Wanted, fastest, with_ratios
from index.benchmarks.kinds_plot import plot_kinds
from index.benchmarks.kinds_run import measure_bundle, measure_size
from index.benchmarks.vector_databases import databases
from index.bundle import open_bundle
from index.console_tables import print_table
from index.engine import use_threads
from index.item_index import ItemIndex

_STDERR = Console(stderr=True)

Items = Annotated[int, typer.Option(min=100, help="Number of items, generated like learned embeddings.")]
Size = Annotated[int, typer.Option(min=2, help="Their dimensions.")]
Factory = Annotated[list[str], typer.Option(help="FAISS factory string; repeatable.")]
Queries = Annotated[int, typer.Option("--queries", min=1, help="Number of queries, each a sum of 30 items.")]
Length = Annotated[int, typer.Option("--k", min=1, help="Number of results per query.")]
Nprobe = Annotated[
    int | None, typer.Option(help="IVF lists to probe; four times the root of their number where not given.")
]
EfSearch = Annotated[int | None, typer.Option(help="HNSW candidates to keep; 64 where not given.")]
BuildThreads = Annotated[int, typer.Option(min=1, help="Threads to build with; searches use one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead.")]


def bench_kinds(
    *,
    items: Annotated[list[int], typer.Option(min=100, help="Number of generated items; repeatable.")] = [  # noqa: B006
        20_000,
        1_000_000,
        10_000_000,
    ],
    size: Annotated[list[int], typer.Option(min=2, help="Dimensions; repeatable.")] = [64, 256],  # noqa: B006
    bundle: Annotated[Path | None, typer.Option(help="A trained bundle to measure instead, with its users.")] = None,
    factory: Annotated[list[str] | None, typer.Option(help="Measure only these kinds beside exact search.")] = None,
    queries: Queries = 256,
    k: Length = 20,
    build_threads: BuildThreads = 1,
    rows: Annotated[Path, typer.Option(help="Folder of measured rows: a killed run goes on where it ended.")] = Path(
        ".bench-index"
    ),
    plot: Annotated[Path | None, typer.Option(help="PNG to draw recall against speed into.")] = None,
) -> None:
    """Measure build time, memory, latency of one query on one thread, and recall, of each kind of index.

    Items are generated like learned embeddings, and queries like user vectors, whose 30 seen items are excluded
    (index/benchmarks/clustered_vectors.py); vectors are in a file until all kinds of a size are measured. Kinds that do
    not fit into the free memory are skipped with a line. Prints a table, the fastest kind of each size with a recall of
    .99, and JSON. Delete the folder of rows after a change of code or machine.

    Example: python -m index bench-kinds --items 1000000 --size 64
    """
    wanted = Wanted(queries, k, build_threads, rows, frozenset(factory or ()))
    with _STDERR.status("starting") as status:
        if bundle is not None:
            lines = measure_bundle(open_bundle(bundle, verify=False), wanted, status.update, _STDERR.print)
        else:
            sizes = [(n, d) for n in items for d in size]
            lines = [line for n, d in sizes for line in measure_size(n, d, wanted, status.update, _STDERR.print)]
    lines = with_ratios(lines)
    _show(lines, as_json=False)
    if plot is not None:
        plot_kinds(lines, plot)
    best = fastest(lines)
    for line in best:
        typer.echo(
            f"{line.items:,} x {line.size}: {line.kind} {line.setting} is the fastest with recall {FLOOR} or more, "
            f"{line.times_exact:.1f} times as fast as exact search"
        )
    typer.echo(json.dumps({"rows": [asdict(line) for line in lines], "fastest": [asdict(line) for line in best]}))


def bench_filters(
    *,
    items: Items = 20_000,
    size: Size = 64,
    factory: Factory = ["Flat"],  # noqa: B006 - typer reads it once
    queries: Queries = 100,
    k: Length = 20,
    nprobe: Nprobe = None,
    ef_search: EfSearch = None,
    build_threads: BuildThreads = 1,
    beside: Annotated[
        list[str] | None, typer.Option(help="A vector database over the same items: milvus, qdrant; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure latency and recall by exclusion and filter, of each way to leave rows out and of the one chosen.

    `fetch more alone` fetches as many rows as an even spread would need and drops those not allowed; `bitmap` restricts
    the search to allowed rows; `score allowed` scores each of them.

    Example: python -m index bench-filters --items 1000000 --factory IVF1024,Flat --nprobe 64
    """
    data = clustered_vectors(items, size, n_queries=queries)
    cases = list(filter_cases(data.vectors, queries, np.random.default_rng(0)))
    lines: list[Any] = []
    for name in factory:
        index = _built(name, nprobe, ef_search, build_threads, data.vectors)
        with databases(beside or (), index, data.queries, k) as others:
            measured = (measure_filters(index, name, data.queries, k, [case], others=others) for case in cases)
            lines += [line for of_case in track(measured, name, len(cases), console=_STDERR) for line in of_case]
    _show(lines, as_json)


def bench_delta(
    *,
    items: Items = 20_000,
    size: Size = 64,
    factory: Factory = ["Flat"],  # noqa: B006 - typer reads it once
    queries: Queries = 100,
    k: Length = 20,
    nprobe: Nprobe = None,
    ef_search: EfSearch = None,
    build_threads: BuildThreads = 1,
    as_json: AsJson = False,
) -> None:
    """Measure latency and recall beside a delta of no, 1% and 10% of the items, one change, and compaction.

    Example: python -m index bench-delta --items 1000000 --factory Flat --factory IVF1024,Flat --nprobe 64
    """
    data = clustered_vectors(items, size, n_queries=queries)
    lines: list[Any] = []
    with _STDERR.status("measuring"):
        for name in factory:
            build = partial(_built, name, nprobe, ef_search, build_threads)
            lines += measure_delta(data.vectors, data.queries, name, k, build)
    _show(lines, as_json)


def _built(
    factory: str, nprobe: int | None, ef_search: int | None, threads: int, vectors: np.ndarray[Any, Any]
) -> ItemIndex:
    use_threads(threads)
    index = ItemIndex.build(vectors, factory, nprobe=nprobe, ef_search=ef_search)
    use_threads(1)  # as the service searches
    return index


def _show(lines: Sequence[Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(line) for line in lines]))
        return
    names = [field.name for field in fields(lines[0])]
    table = Table()
    for name in names:
        is_text = isinstance(getattr(lines[0], name), str)
        table.add_column(name.replace("_", " "), justify="left" if is_text else "right")
    for line in lines:
        values = [getattr(line, name) for name in names]
        table.add_row(*(value if isinstance(value, str) else f"{value:.4g}" for value in values))
    print_table(table)
