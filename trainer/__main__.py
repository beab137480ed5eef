"""`python -m trainer`: from data to a bundle."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from index.errors import run_cli
from trainer.config import load_config, shipped_configs
from trainer.datasets.cli import prepare_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Learn user and item embeddings from interactions, texts and images, and write them as a bundle.\n\n"
        "The usual way: **prepare** what you have into a data folder, **fit** a model on it into a run folder, "
        "**compare** it with simpler ones, **export** the run as a bundle; then `python -m index publish` puts the "
        "bundle live."
    ),
)
app.add_typer(prepare_app, name="prepare")

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder made by `prepare`.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by `fit`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. --set training.epochs=50. Repeatable."),
]
CONFIG_HELP = f"A TOML file, or one that ships: {', '.join(shipped_configs())}."


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run in it is resumed, a finished one kept.")],
    config: Annotated[str, typer.Option(help=CONFIG_HELP)] = "anchorrec",
    overrides: Overrides = None,
) -> None:
    """Train one model until validation stops improving, then measure its best epoch on the test split.

    Example: python -m trainer fit data/shop --out runs/anchorrec --set training.learning_rate=0.001
    """
    from trainer.compare import figures_table, fit_run  # torch takes seconds to import; --help must not wait

    result = fit_run(data, load_config(config, tuple(overrides or ())), out)
    Console().print(figures_table({out.name: result}))


@app.command()
def compare(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder that gets one run folder per configuration and comparison.json.")],
    config: Annotated[list[str] | None, typer.Option(help=CONFIG_HELP + " Repeatable.")] = None,
    overrides: Overrides = None,
) -> None:
    """Fit several configurations on the same data and print their test figures side by side.

    Runs that are already finished in the folder are not run again.
    """
    from trainer.compare import compare_runs, figures_table

    names = config or ["popularity", "lightgcn", "anchorrec"]
    Console().print(figures_table(compare_runs(data, names, tuple(overrides or ()), out)))


@app.command()
def tune(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the study; the one in it is continued.")],
    config: Annotated[str, typer.Option(help=CONFIG_HELP)] = "anchorrec",
    space: Annotated[
        str | None, typer.Option(help="Space to search, a TOML file or one that ships. [default: the model's]")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, earlier calls included. [default: the whole grid, else 30]"),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds after which no further trial is begun.")] = math.inf,
    sampler: Annotated[Literal["tpe", "random", "grid"], typer.Option(help="How settings are proposed.")] = "tpe",
    pruner: Annotated[
        Literal["median", "hyperband", "none"], typer.Option(help="What ends a trial that falls behind.")
    ] = "median",
    seed: Annotated[int, typer.Option(help="Seed of the search; runs keep the one of their configuration.")] = 0,
    overrides: Overrides = None,
    final: Annotated[bool, typer.Option("--final/--no-final", help="Fit the best and measure it on test.")] = True,
) -> None:
    """Search a configuration's best settings by validation; then fit those and measure test once.

    Writes best.toml (for `fit --config`), trials.csv, study.png and, with --final, the run folder `best`.

    Example: python -m trainer tune data/shop --config lightgcn --trials 20 --out studies/lightgcn
    """
    from trainer.data import load_dataset
    from trainer.tune import command, report, study
    from trainer.tune.space import read_space

    fixed = tuple(overrides or ())
    base = load_config(config, fixed)
    search = study.Search(config, read_space(space or base.model.name), fixed, sampler, pruner, trials, timeout, seed)
    dataset = load_dataset(data)
    found = command.tune(dataset, search, out, console=Console(stderr=True))
    Console().print(report.best_table(found, search))
    if final:
        best = load_config(str(out / "best.toml"))
        Console().print(report.final_table(command.fit_best(dataset, best, out / "best")))


@app.command()
def evaluate(
    run: Run,
    split: Annotated[str, typer.Option(help="train-masked split to measure on: valid or test.")] = "test",
) -> None:
    """Measure a run's best state again, from its checkpoint."""
    from trainer.compare import measure_run, metrics_table

    Console().print(metrics_table(measure_run(run, split), title=f"{run.name}, {split}"))


@app.command()
def export(
    run: Run,
    registry: Annotated[Path, typer.Option(help="Folder of bundles that the service reads.")],
    factory: Annotated[str, typer.Option(help="FAISS factory string of the search index.")] = "Flat",
    trend_half_life_days: Annotated[float, typer.Option(min=0.001, help="Half-life of the popularity trend.")] = 30.0,
) -> None:
    """Write a finished run as a bundle with its search index. It goes live with `python -m index publish`."""
    from trainer.export import export_run
    from trainer.run_folder import RunFolder

    created_at = datetime.now(UTC)
    path = export_run(
        RunFolder(run),
        registry,
        created_at=created_at,
        factory=factory,
        trend_half_life_days=trend_half_life_days,
    )
    print(path)


@app.command("verify-golden")
def verify_golden(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Recorded numbers of a reference implementation.")],
    model: Annotated[str, typer.Option(help="Name of the model that the file was recorded from.")],
) -> None:
    """Replay a reference implementation's recorded batches and print the largest absolute difference per quantity.

    Exit status 0 only if every difference is within 1e-5.
    """
    from trainer.golden import TOLERANCE
    from trainer.golden import verify_golden as differences_of

    differences = differences_of(model, file)
    table = Table("quantity", "largest difference", "", title=f"{model} against {file.name}")
    for name, difference in differences.items():
        table.add_row(name, f"{difference:.2e}", "ok" if difference <= TOLERANCE else "TOO FAR")
    Console().print(table)
    raise typer.Exit(0 if all(difference <= TOLERANCE for difference in differences.values()) else 1)


if __name__ == "__main__":
    run_cli(app)
