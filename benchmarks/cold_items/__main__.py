"""`python -m benchmarks.cold_items`: hide items from training, recommend them by their words and pictures, measure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.cold_items.hiding import hidden_rows, open_prepared, write_without
from benchmarks.cold_items.measuring import DrawResult, measure_draw
from benchmarks.cold_items.report import summary, table
from benchmarks.cold_items.training import trained_bundle
from index.cli import command_line, run_cli
from index.storage import replace_file

app = command_line()


@app.command()
def cold_items(
    data: Annotated[Path, typer.Argument(help="Folder made by `python -m trainer prepare`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for runs, bundles and results; what it has is not done again.")],
    draws: Annotated[int, typer.Option(min=1, help="How often items are drawn and hidden.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="Of the first draw; the next ones follow.")] = 0,
    share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of the items that is hidden.")] = 0.05,
    config: Annotated[str, typer.Option(help="Of the model; it must have a content path.")] = "anchorease",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for fit.")] = None,
) -> None:
    """Print recall@20 of hidden items and of the others; write result.json.

    Example: python -m benchmarks.cold_items data/films --out runs/cold
    """
    prepared, overrides = open_prepared(data), settings or ()
    results: list[DrawResult] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("train on all items", total=draws + 1)
        full = trained_bundle(data, out / "full", config, overrides)
        for seed in range(first_seed, first_seed + draws):
            progress.update(task, advance=1, description=f"draw {seed}")
            hidden = hidden_rows(prepared.n_items, share, seed)
            folder = out / f"draw-{seed}"
            if not (folder / "data").exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_without(prepared, hidden, folder / "data")
            without = trained_bundle(folder / "data", folder, config, overrides)
            results.append(measure_draw(prepared, hidden, seed, without, full))
        progress.update(task, advance=1)
    _tell(results, out)


def _tell(results: Sequence[DrawResult], out: Path) -> None:
    record = {"draws": [asdict(result) for result in results], "summary": summary(results)}
    replace_file(out / "result.json", json.dumps(record, indent=2).encode())
    Console().print(table(results))
    typer.echo(json.dumps(record["summary"]))


if __name__ == "__main__":
    run_cli(app)
