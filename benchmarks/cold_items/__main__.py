"""`python -m benchmarks.cold_items`: hide items from training, recommend them by their words and pictures, measure."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.cold_items.draw import Draw, Drawing
from benchmarks.cold_items.hiding import open_prepared
from benchmarks.cold_items.report import summary, tables
from benchmarks.cold_items.training import Training
from deploy.processes import end_by_signals
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
    served: Annotated[bool, typer.Option("--served/--offline", help="Also put the items to a running service.")] = True,
) -> None:
    """Print recall@20 of hidden items and of the others; write result.json.

    Hidden items get their vectors from ready features; where the bundle has encoders, also from raw text and picture.

    Example: python -m benchmarks.cold_items data/films --out runs/cold
    """
    end_by_signals()
    prepared, training, found = open_prepared(data), Training(out / "bundles", config, settings or ()), []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("train on all items", total=2 * draws + 1)
        full = training.bundle(data, out / "full", encoders=False)
        for seed in range(first_seed, first_seed + draws):
            progress.update(task, advance=1, description=f"draw {seed}: train on the others")
            drawing = Drawing.of(prepared, out / f"draw-{seed}", share, seed)
            without = training.bundle(drawing.visible_data(), drawing.folder, encoders=served)
            progress.update(task, advance=1, description=f"draw {seed}: measure")
            found.append(Draw(drawing.offline(without, full), drawing.served(without) if served else []))
        progress.update(task, advance=1)
    _tell(found, out)


def _tell(found: Sequence[Draw], out: Path) -> None:
    record = {"draws": [asdict(draw) for draw in found], "summary": summary(found)}
    replace_file(out / "result.json", json.dumps(record, indent=2).encode())
    for table in tables(found):
        Console().print(table)
    typer.echo(json.dumps(record["summary"]))


if __name__ == "__main__":
    run_cli(app)
