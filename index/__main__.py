"""`python -m index`: inspect bundles, rebuild their search index, and decide which one serves."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from index.auto.choice import AUTO, AutoLimits
from index.benchmarks.auto_command import bench_auto
from index.benchmarks.commands import bench_delta, bench_filters, bench_kinds
from index.benchmarks.search_benchmark import benchmark_table, measure_search
from index.bundle import open_bundle, read_manifest
from index.cli import (
    COPIES,
    LIMITS,
    Copies,
    ExactBelow,
    Factory,
    IndexMemory,
    IndexSeconds,
    RecallFloor,
    command_line,
    run_cli,
)
from index.console_tables import bundle_summary, index_line, print_table, registry_table
from index.engine import use_threads
from index.errors import InputError
from index.foreign.commands import import_vectors
from index.gate_report import GateLimits, GateReport, parse_limits
from index.gpu import place_index
from index.item_index import ItemIndex
from index.manifest import BUNDLE_ID, MANIFEST
from index.milvus.commands import follow_milvus, load_milvus, prune_milvus
from index.progress import built_kinds
from index.publishing import gate_bundle
from index.records import GateResult, PointerMove
from index.registry import Registry, find_bundle, open_registry
from index.reindex import reindex

app = command_line(
    "Inspect bundles, rebuild their search index, and decide which one serves.\n\n"
    "A **bundle** is a trained model in a folder that never changes; a **registry** is a folder of bundles with a "
    "pointer to the bundle that serves. Usually: `python -m trainer export` writes a bundle, "
    "**inspect** shows it, **publish** runs the gate and moves the pointer, **rollback** moves it back.\n\n"
    "Exit status: 0 done, 1 refused by the gate, 2 invalid input."
)

BundlePlace = Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle, REGISTRY/BUNDLE_ID: a path or a URL.")]
RegistryPlace = Annotated[
    str,
    typer.Argument(metavar="REGISTRY", help="The folder of bundles, or a bucket such as s3://shop/bundles."),
]
BY = "command line"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead.")]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Limit of a gate check, repeatable. "
        + "; ".join(f"{name}: {field.description}" for name, field in GateLimits.model_fields.items()),
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        allow_dash=True,
        help="User ids to compute recommendations for, one a line; `-`: standard input.",
    ),
]
Nprobe = Annotated[
    int | None, typer.Option(help="IVF lists to probe; four times the root of their number where not given.")
]
EfSearch = Annotated[int | None, typer.Option(help="HNSW candidates to keep; 64 where not given.")]
Rerank = Annotated[int | None, typer.Option(help="Times as many candidates of coarse codes as results; 16.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads for FAISS. 1 makes an HNSW build repeatable.")]


@app.command()
def build(
    bundle: BundlePlace,
    *,
    factory: Factory = AUTO,
    nprobe: Nprobe = None,
    ef_search: EfSearch = None,
    rerank: Rerank = None,
    recall_floor: RecallFloor = LIMITS.recall_floor,
    index_memory: IndexMemory = LIMITS.memory,
    index_seconds: IndexSeconds = LIMITS.seconds,
    exact_below: ExactBelow = None,
    threads: Threads = 1,
    copies: Copies = COPIES,
) -> None:
    """Write a new bundle with another search index and print its recall against exact search.

    `auto` measures kinds of index on this machine and keeps the fastest with the recall. The old bundle does not
    change; the new one beside it shares every other file by hard link. With the bundle's own factory, its search
    settings stay.

    Example: python -m index build bundles/20260101T120000Z-anchorrec-1a2b3c4d --factory IVF64,Flat --nprobe 8
    """
    use_threads(threads)
    registry, bundle_id = find_bundle(bundle, copies, progress=True)
    old = registry.fetch(bundle_id)
    limits = AutoLimits(recall_floor, index_memory, index_seconds, exact_below)
    now = datetime.now(UTC)
    given = {"nprobe": nprobe, "ef_search": ef_search, "rerank": rerank}
    settings = {name: value for name, value in given.items() if value is not None}
    with built_kinds() as tell:
        path = reindex(old, factory, created_at=now, limits=limits, tell=tell, settings=settings)
    index = read_manifest(path).index
    recall = "  ".join(f"{name} {value:.4f}" for name, value in index.recall.items())
    typer.echo(f"{registry.add_bundle(path)}\n{index_line(index)}\n{recall}")


@app.command()
def inspect(
    place: Annotated[str, typer.Argument(metavar="PLACE", help="A bundle, or a registry: a path or a URL.")],
    as_json: AsJson = False,
    verify: Annotated[bool, typer.Option(help="Check the sums of all files of a bundle, and its index.")] = True,
    copies: Copies = COPIES,
) -> None:
    """Show the content of a bundle, or the bundles of a registry and which one serves.

    Examples: python -m index inspect bundles; python -m index inspect bundles/20260101T120000Z-anchorrec-1a2b3c4d
    """
    if _names_bundle(place):
        registry, bundle_id = find_bundle(place, copies, progress=True)
        path = registry.fetch(bundle_id)
        bundle = open_bundle(path, verify=verify)
        if verify:
            bundle.index()  # is refused where it is not sound
        manifest = bundle.manifest
        typer.echo(manifest.model_dump_json(indent=2)) if as_json else print_table(
            bundle_summary(path, manifest, registry.encoders)
        )
        return
    registry = open_registry(place, copies)
    known = {"bundle": registry.current_id(), "history": registry.history(), "bundles": registry.ids()}
    typer.echo(json.dumps(known, indent=2)) if as_json else print_table(registry_table(registry))


@app.command()
def gate(
    bundle: BundlePlace,
    limit: Limits = None,
    replay: Replay = None,
    as_json: AsJson = False,
    copies: Copies = COPIES,
) -> None:
    """Run the gate's checks without publishing. Exit status 1 where the bundle fails.

    Sums, parts and fold-in must be right and every number finite; the index must find what exact search finds, in
    time. Compared with the bundle that serves, validation metrics, catalogue and recommendations must not have fallen
    or changed too much: docs/bundle.md has every limit.

    Example: python -m index gate bundles/20260101T120000Z-anchorrec-1a2b3c4d --limit metric_margin=0.02
    """
    report = _gate(*find_bundle(bundle, copies, progress=True), limit, replay)
    typer.echo(report.model_dump_json(indent=2) if as_json else str(report))
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def publish(
    bundle: BundlePlace,
    limit: Limits = None,
    replay: Replay = None,
    copies: Copies = COPIES,
    force: Annotated[
        bool, typer.Option("--force", help="Publish also where the gate fails, but no damaged bundle.")
    ] = False,
) -> None:
    """Run the gate, then publish the bundle. Where the gate refuses it, the current one keeps serving: exit status 1.

    Example: python -m index publish bundles/20260101T120000Z-anchorrec-1a2b3c4d
    """
    registry, bundle_id = find_bundle(bundle, copies, progress=True)
    report = _gate(registry, bundle_id, limit, replay)
    typer.echo(str(report))
    now = datetime.now(UTC)
    if registry.holds(report.bundle_id):
        registry.save_gate_report(report.bundle_id, GateResult(at=now, report=report))
    if not report.passed and not force:
        typer.echo(f"not published; still serving: {registry.current_id() or 'nothing'}", err=True)
        raise typer.Exit(1)
    if not report.passed:
        open_bundle(registry.fetch(report.bundle_id))  # no force makes a damaged bundle serve
    why = "" if report.passed else f"forced, though {', '.join(check.name for check in report.failures)} failed"
    registry.publish(report.bundle_id, PointerMove(at=now, by=BY, why=why))
    typer.echo(f"serving: {report.bundle_id}" + ("" if report.passed else " (forced)"))
    registry.evict_copies(report.bundle_id, *registry.rollback_targets()[-1:])


@app.command()
def rollback(registry: RegistryPlace, copies: Copies = COPIES) -> None:
    """Publish the bundle again that served before the current one.

    Example: python -m index rollback bundles
    """
    move = PointerMove(at=datetime.now(UTC), by=BY, why="rolled back to")
    typer.echo(f"serving: {open_registry(registry, copies, progress=True).rollback(move)}")


@app.command()
def prune(
    registry: RegistryPlace,
    keep: Annotated[int, typer.Option(min=0, help="Number of newest bundles to keep.")] = 5,
    copies: Copies = COPIES,
) -> None:
    """Remove old bundles, encoders that no bundle has named for a day, and unfinished files of killed writers.

    The bundle that serves and the one that a rollback would go to always stay.

    Example: python -m index prune bundles --keep 3
    """
    removed = open_registry(registry, copies).prune(keep)
    typer.echo("\n".join(f"removed {bundle_id}" for bundle_id in removed) or "nothing to remove")


@app.command()
def bench(
    bundle: BundlePlace,
    *,
    factory: Annotated[
        list[str] | None, typer.Option(help="FAISS factory string; repeatable. The bundle's own where not given.")
    ] = None,
    excluded: Annotated[
        list[int] | None, typer.Option(help="Number of rows to exclude; repeatable. 30, 1024, 10000.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Number of results per query.")] = 10,
    n_queries: Annotated[int, typer.Option("--queries", min=1, help="Number of user vectors to query with.")] = 500,
    nprobe: Nprobe = None,
    ef_search: EfSearch = None,
    threads: Threads = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Search on a GPU where FAISS sees one.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the users and the excluded rows.")] = 0,
    as_json: AsJson = False,
    copies: Copies = COPIES,
) -> None:
    """Measure queries a second, latency and recall by the number of rows that each query excludes.

    Example: python -m index bench bundles/20260101T120000Z-anchorrec-1a2b3c4d --factory Flat --factory IVF64,Flat
    """
    use_threads(threads)
    opened = open_bundle(_fetch(bundle, copies), verify=False)
    rng = np.random.default_rng(seed)
    queries = opened.user_embeddings[rng.integers(len(opened.user_ids), size=n_queries)]
    counts = _excluded_counts(excluded or (30, 1_024, 10_000), len(opened.item_ids))
    indexes = {
        name: ItemIndex.build(opened.item_embeddings, name, nprobe=nprobe, ef_search=ef_search)
        for name in factory or ()
    } or {opened.manifest.index.factory: opened.index()}
    with Console(stderr=True).status("searching"):
        lines = [
            line
            for name, index in indexes.items()
            for line in measure_search(
                place_index(index, allow_gpu=gpu), name, queries, k=k, excluded_counts=counts, rng=rng
            )
        ]
    typer.echo(json.dumps([asdict(line) for line in lines])) if as_json else print_table(benchmark_table(lines, k))


app.command("import-vectors")(import_vectors)
app.command("bench-kinds")(bench_kinds)
app.command("bench-auto")(bench_auto)
app.command("bench-filters")(bench_filters)
app.command("bench-delta")(bench_delta)
app.command("load-milvus")(load_milvus)
app.command("follow-milvus")(follow_milvus)
app.command("prune-milvus")(prune_milvus)


def _names_bundle(place: str) -> bool:
    """Whether a place is a bundle or has the name of one; else it is a registry."""
    named = BUNDLE_ID.fullmatch(place.rstrip("/").rpartition("/")[2]) is not None
    return named or ("://" not in place and ((Path(place) / MANIFEST).exists() or not Path(place).is_dir()))


def _fetch(bundle: str, copies: Path) -> Path:
    registry, bundle_id = find_bundle(bundle, copies, progress=True)
    return registry.fetch(bundle_id)


def _gate(registry: Registry, bundle_id: str, limits: list[str] | None, replay: Path | None) -> GateReport:
    user_ids = () if replay is None else _lines(replay)
    with Console(stderr=True).status("running the gate"):
        return gate_bundle(registry, bundle_id, parse_limits(limits or ()), replay=user_ids)


def _lines(file: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"--replay {file}: {error}; expected a text file of user ids") from error
    return text.split("\n")  # an id may hold any other kind of line end


def _excluded_counts(requested: Sequence[int], n_items: int) -> list[int]:
    fitting = [count for count in requested if 0 <= count < n_items]
    if not fitting:
        raise InputError(f"--excluded is {list(requested)}; expected a number below {n_items}, the number of items")
    return fitting


if __name__ == "__main__":
    run_cli(app)
