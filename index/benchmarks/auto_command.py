"""The command `bench-auto` of `python -m index`."""

import json
from typing import Annotated

import typer

from index.auto.build import IndexData, choose_index, index_record
from index.auto.choice import AutoLimits
from index.benchmarks.clustered_vectors import clustered_vectors
from index.cli import LIMITS, IndexMemory, IndexSeconds, RecallFloor
from index.console_tables import index_line, print_table, tried_table
from index.engine import use_threads
from index.progress import built_kinds


def bench_auto(
    *,
    items: Annotated[int, typer.Option(min=100, help="Number of items, generated like learned embeddings.")] = 20_000,
    size: Annotated[int, typer.Option(min=2, help="Their dimensions.")] = 64,
    users: Annotated[int, typer.Option(min=1, help="Number of users, each a sum of 30 items.")] = 1_000,
    recall_floor: RecallFloor = LIMITS.recall_floor,
    index_memory: IndexMemory = LIMITS.memory,
    index_seconds: IndexSeconds = LIMITS.seconds,
    build_threads: Annotated[int, typer.Option(min=1, help="Threads to build with; searches use one.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead.")] = False,
) -> None:
    """Choose an index over generated items as `--factory auto` does, whatever their number, and show what was tried.

    Example: python -m index bench-auto --items 1000000
    """
    data = clustered_vectors(items, size, n_queries=users)
    limits = AutoLimits(recall_floor, index_memory, index_seconds, exact_below=0)
    use_threads(build_threads)
    with built_kinds() as tell:
        _, info = choose_index(IndexData(data.vectors, data.queries, data.seen.__getitem__), limits, tell)
    if as_json:
        typer.echo(json.dumps(index_record(info)))
        return
    print_table(tried_table(info))
    typer.echo(index_line(info))
