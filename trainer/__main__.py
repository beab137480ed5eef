"""`python -m trainer`: from data to a bundle."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from index.auto.choice import AUTO, AutoLimits
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
from index.errors import InputError
from index.registry import absolute_place, open_registry
from index.tables import Precision
from trainer.config import DEFAULT_CONFIG, load_config, shipped_configs
from trainer.datasets.cli import prepare_app
from trainer.splits import Protocol

app = command_line(
    "Learn user and item embeddings from interactions, texts and images, and write them as a bundle.\n\n"
    "The usual way: **prepare** what you have into a data folder, **fit** a model on it into a run folder, "
    "**compare** it with simpler ones, **export** the run as a bundle; then `python -m index publish` puts the "
    "bundle live."
)
app.add_typer(prepare_app, name="prepare")

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder made by `prepare`.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by `fit`.")]
Encoders = Annotated[
    Literal["auto", "none"],
    typer.Option(help="auto: export the data's encoders beside the bundles, for texts and pictures of new items."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, e.g. --set training.epochs=50. Repeatable."),
]
Split = Annotated[
    Protocol,
    typer.Option(help="Labels of the interactions: as prepared, or split anew, at random or by each user's time."),
]
RegistryPlace = Annotated[
    str, typer.Option(help="Holds the bundles that the service reads: a folder, or a bucket such as s3://shop/bundles.")
]
CONFIG_HELP = f"A TOML file, or one that ships: {', '.join(shipped_configs())}."


@app.callback()
def _under_torchrun(context: typer.Context) -> None:
    # Each process would do all of the work, in the others' way.
    if "TORCHELASTIC_RUN_ID" in os.environ and context.invoked_subcommand != "fit":
        raise InputError("torchrun starts several processes; only `fit` shares its work among them")


@app.command()
def fit(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run in it is resumed, a finished one kept.")],
    config: Annotated[
        str | None, typer.Option(help=CONFIG_HELP + " [default: AnchorEASE, its settings searched within --budget]")
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Without --config: time of the search for settings.")
    ] = 600.0,
    overrides: Overrides = None,
    split: Split = "given",
) -> None:
    """Train one model and measure it on the test split: AnchorEASE, or what --config names.

    Without --config the settings are searched by validation first (RUN/tuning). A model that is trained by epochs is
    measured at its best epoch on validation.

    Example: python -m trainer fit data/shop --out runs/shop --budget 60
    """
    from trainer.data import load_dataset  # torch takes seconds to import; --help must not wait
    from trainer.fit import fit as fit_run
    from trainer.fit import own_part
    from trainer.parallel import process_group
    from trainer.result_tables import figures_table
    from trainer.run_folder import RunFolder

    dataset, fixed = load_dataset(data).with_split(split), tuple(overrides or ())
    if config is None:
        from trainer.tune.defaults import tuned_config

        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise InputError("torchrun starts several processes, and the search for settings is one's: name a --config")
        settings = tuned_config(dataset, fixed, out, budget=budget, console=Console(stderr=True))
    else:
        settings = load_config(config, fixed)
    with process_group(settings.device) as share:
        dataset = own_part(dataset, settings, share)  # the whole of it is freed
        result = fit_run(dataset, settings, RunFolder(out), share=share)
        if share.is_first:
            Console().print(figures_table({out.name: result}))


@app.command()
def compare(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Folders made by `prepare`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of all runs and tables; finished runs in it are kept.")],
    config: Annotated[list[str] | None, typer.Option(help=CONFIG_HELP + " Repeatable.")] = None,
    models: Annotated[
        str, typer.Option(metavar="all|NAME,NAME...", help="Shipped configurations, one a model; beside --config.")
    ] = "",
    seeds: Annotated[str, typer.Option(metavar="N,N...", help="Seeds to run every configuration with.")] = "",
    split: Annotated[
        str,
        typer.Option(metavar="KIND,KIND...", help="Labels to run with, of given (as prepared), random, time."),
    ] = "given",
    baseline: Annotated[
        str | None, typer.Option(help="What the others are tested against. [default: the first configuration]")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Figure to show and test, e.g. text_cosine. Repeatable. [default: recall@20, ndcg@20 ...]"),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Fit several configurations, on several data sets and with several seeds, into one table; test the differences.

    Writes comparison.json, .csv and .md and tests.csv. Runs lie in OUT/DATA/CONFIG/SEED, or in OUT/CONFIG for one data
    set without --seeds; with several splits DATA is NAME-KIND.

    Example: python -m trainer compare data/baby --models all --split random,time --out runs
    """
    from trainer.compare import compare_runs
    from trainer.result_tables import comparison_tables, rich_table, tests_rows

    shipped = _shipped_models(models)
    found = compare_runs(
        data,
        [*shipped, *(config or [])] or ["popularity", "ease", DEFAULT_CONFIG],
        out,
        overrides=tuple(overrides or ()),
        seeds=_whole_numbers("--seeds", seeds),
        splits=_protocols(split),
        optional=shipped if models == "all" else (),
        baseline=baseline,
        metrics=tuple(metric or ()),
        on_run=lambda run: Console(stderr=True).print(run, highlight=False),
    )
    Console().print(comparison_tables(found.results, found.metrics, title=found.title))
    if found.tests:
        Console().print(rich_table(*tests_rows(found.tests), title=found.tests_title))


def _protocols(names: str) -> list[Protocol]:
    kinds = [name.strip() for name in names.split(",")]
    if unknown := [kind for kind in kinds if kind not in get_args(Protocol)]:
        raise InputError(f"--split is {unknown[0]!r}, expected of {', '.join(get_args(Protocol))}")
    return cast(list[Protocol], kinds)


def _shipped_models(names: str) -> list[str]:
    """What --models stands for: every shipped configuration that is a model's own, or those named."""
    if names == "all":
        own = {name: load_config(name).model.name for name in shipped_configs()}
        return [name for name, model in own.items() if name == model]
    return [name.strip() for name in names.split(",") if name.strip()]


@app.command()
def tune(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the study; the one in it is continued.")],
    config: Annotated[str, typer.Option(help=CONFIG_HELP)] = "anchorease",
    space: Annotated[
        str | None, typer.Option(help="Space to search, a TOML file or one that ships. [default: the model's]")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trials in all, earlier calls included. [default: the whole grid, else 30; 100 computed at once]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds after which no further trial is begun. [default: 600 for models computed at once, else none]",
        ),
    ] = None,
    validation: Annotated[
        Literal["time", "given"],
        typer.Option(help="What settings are chosen by: each user's newest interactions outside test, or as prepared."),
    ] = "time",
    sampler: Annotated[
        Literal["tpe", "steps", "random", "grid"] | None,
        typer.Option(help="How settings are proposed. [default: steps for anchorease, else tpe]"),
    ] = None,
    pruner: Annotated[
        Literal["median", "hyperband", "none"], typer.Option(help="What ends a trial that falls behind.")
    ] = "median",
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the search; runs keep the one of their configuration.")
    ] = 0,
    start_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONFIG", help="Configuration whose values of the searched settings are tried first. Repeatable."
        ),
    ] = None,
    overrides: Overrides = None,
    split: Split = "given",
    final: Annotated[bool, typer.Option("--final/--no-final", help="Fit the best and measure it on test.")] = True,
) -> None:
    """Search a configuration's best settings by validation; then fit those and measure test once.

    Writes best.toml (for `fit --config`), trials.csv, study.png and, with --final, the run folder `best`.

    Example: python -m trainer tune data/shop --config lightgcn --trials 20 --out studies/lightgcn
    """
    from trainer.data import load_dataset
    from trainer.model_settings import AnchorEASESettings
    from trainer.tune import command, defaults, results, study
    from trainer.tune.space import read_space

    fixed = tuple(overrides or ())
    base = load_config(config, fixed)
    searched = read_space(space or base.model.name)
    dataset = load_dataset(data).with_split(split)
    if space is None and isinstance(base.model, AnchorEASESettings):
        searched = defaults.fitting_space(searched, dataset, fixed)
        start_from, sampler = start_from or list(defaults.PRESETS), sampler or "steps"
    starts = defaults.preset_points(searched, start_from or ())
    search = study.TuningPlan(
        config, searched, fixed, sampler or "tpe", pruner, trials, timeout, seed, starts, validation
    )
    found = command.tune(dataset, search, out, console=Console(stderr=True))
    Console().print(results.best_table(found, search))
    if final:
        best = load_config(str(out / "best.toml"))
        Console().print(results.final_table(command.fit_best(dataset, best, out / "best")))


@app.command()
def evaluate(
    run: Run,
    *,
    split: Annotated[str, typer.Option(help="Held-out part to measure on: valid or test.")] = "test",
    ks: Annotated[str, typer.Option(metavar="K,K...", help="List lengths. [default: the run's]")] = "",
    bootstrap: Annotated[
        int | None, typer.Option(min=0, help="Resamples behind the intervals; 0: no intervals. [default: the run's]")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Figures with their intervals, .csv or .parquet.")
    ] = None,
    users: Annotated[Path | None, typer.Option(metavar="FILE", help="Metrics of every user, .csv or .parquet.")] = None,
) -> None:
    """Measure a run's best state again, from its checkpoint: all metrics, slices and intervals.

    Example: python -m trainer evaluate runs/anchorrec --ks 10,20 --users per-user.parquet
    """
    from trainer.evaluate_run import check_suffix, evaluate_run, figures_frame, users_frame, write_frame
    from trainer.result_tables import evaluation_table
    from trainer.run_folder import RunFolder

    for file in filter(None, (csv, users)):
        check_suffix(file)
    folder = RunFolder(run)
    evaluation = evaluate_run(folder, split, ks=_whole_numbers("--ks", ks), bootstrap=bootstrap)
    if csv:
        write_frame(figures_frame(evaluation), csv)
    if users:
        write_frame(users_frame(evaluation, folder.dataset().user_ids), users)
    Console().print(evaluation_table(evaluation, title=f"{run}, {split}"))


@app.command()
def analyze(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs on one data set.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder that gets report.html and its numbers as CSV.")],
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbours of the overlap matrix.")] = 20,
    trained_tables: Annotated[
        bool,
        typer.Option(
            "--trained-tables",
            help="Add the feature tables that training moved: the released scripts' h^t and h^v.",
        ),
    ] = False,
    item: Annotated[list[str] | None, typer.Option(help="Item id to show with its nearest items. Repeatable.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Items to show where none is named, drawn by seed.")] = 4,
    tsne_items: Annotated[int, typer.Option(min=0, help="Items on the t-SNE map, at most; 0: no map.")] = 5000,
    pair_lines: Annotated[int, typer.Option(min=0, help="Items whose points on the map are joined by lines.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything drawn at random.")] = 42,
) -> None:
    """Write the paper's figures for one or several runs as one HTML page, with the numbers as CSV beside it.

    Example: python -m trainer analyze runs/lightgcn runs/anchorrec --out report
    """
    from trainer.analyze.report import analyze as write_report
    from trainer.analyze.sections import AnalysisSettings

    settings = AnalysisSettings(
        overlap_k=neighbours,
        items=tuple(item or ()),
        n_examples=examples,
        tsne_items=tsne_items,
        pair_lines=pair_lines,
        seed=seed,
    )
    print(write_report(runs, out, settings, trained_tables=trained_tables))


@app.command()
def export(
    run: Run,
    registry: RegistryPlace,
    *,
    factory: Factory = AUTO,
    recall_floor: RecallFloor = LIMITS.recall_floor,
    index_memory: IndexMemory = LIMITS.memory,
    index_seconds: IndexSeconds = LIMITS.seconds,
    exact_below: ExactBelow = None,
    trend_half_life_days: Annotated[float, typer.Option(min=0.001, help="Half-life of the popularity trend.")] = 30.0,
    precision: Annotated[
        Precision,
        typer.Option(help="Of users' vectors, parts and fold-in: float16 halves, int8 quarters them; items are exact."),
    ] = "float32",
    encoders: Encoders = "auto",
    with_map: Annotated[
        bool, typer.Option("--map/--no-map", help="Put the items on a map in two dimensions, which the console shows.")
    ] = True,
    copies: Copies = COPIES,
) -> None:
    """Write a finished run as a bundle with its search index. It goes live with `python -m index publish`."""
    from trainer.export import export_run
    from trainer.run_folder import RunFolder

    created_at = datetime.now(UTC)
    bundles = open_registry(registry, copies, progress=True)
    path = export_run(
        RunFolder(run),
        bundles,
        created_at=created_at,
        factory=factory,
        limits=AutoLimits(recall_floor, index_memory, index_seconds, exact_below),
        precision=precision,
        trend_half_life_days=trend_half_life_days,
        encoders=encoders,
        with_map=with_map,
    )
    bundles.evict_copies(path.name)
    print(bundles.location(path.name))


@app.command()
def retrain(
    data: Data,
    *,
    events: Annotated[
        Path, typer.Option(metavar="PATH", help="Parquet of `python -m service export-events`, or a folder of it.")
    ],
    registry: RegistryPlace,
    items: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Parquet of `python -m service export-items`, or a folder of it."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures that stored items name by path.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of encoded features  [default: .feature-cache beside DATA]")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of this retraining; an interrupted one in it is resumed.")],
    config: Annotated[
        str | None, typer.Option(help=CONFIG_HELP + " [default: that of the bundle which serves, else anchorease]")
    ] = None,
    overrides: Overrides = None,
    positive: Annotated[
        str, typer.Option(metavar="KIND,KIND...", help="Kinds of events that are interactions.")
    ] = "click,like,purchase",
    negative: Annotated[
        str, typer.Option(metavar="KIND,KIND...", help="Kinds of events that take an interaction back.")
    ] = "dislike",
    forget: Annotated[
        Path | None, typer.Option(metavar="FILE", help="People to leave out, as the service writes them.")
    ] = None,
    valid_share: Annotated[float, typer.Option(min=0, max=1, help="Of new interactions, for validation.")] = 0.1,
    split_seed: Annotated[int, typer.Option(min=0, help="Decides which of them; keep it from call to call.")] = 0,
    warm_start: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Begin with the parameters of this finished run folder.")
    ] = None,
    factory: Factory = AUTO,
    recall_floor: RecallFloor = LIMITS.recall_floor,
    index_memory: IndexMemory = LIMITS.memory,
    index_seconds: IndexSeconds = LIMITS.seconds,
    exact_below: ExactBelow = None,
    trend_half_life_days: Annotated[float, typer.Option(min=0.001, help="Half-life of the popularity trend.")] = 30.0,
    precision: Annotated[
        Precision,
        typer.Option(help="Of users' vectors, parts and fold-in: float16 halves, int8 quarters them; items are exact."),
    ] = "float32",
    encoders: Encoders = "auto",
    copies: Copies = COPIES,
) -> None:
    """Merge the service's event log and items into the data, train, and write a bundle. It is not published.

    The last line on standard output is one JSON object with the bundle's id. Old interactions keep their split.

    Example: python -m trainer retrain data/shop --events events.parquet --registry bundles --out retrained/monday
    """
    from dataclasses import asdict

    from index.forgotten import ForgottenPeople, read_forgotten
    from trainer import retrain as retraining
    from trainer.merge import MergeOptions

    fixed = tuple(overrides or ())
    bundles = open_registry(absolute_place(registry), copies, progress=True)
    options = retraining.RetrainOptions(
        data=data,
        events=events,
        registry=bundles,
        config=load_config(config, fixed) if config else retraining.serving_config(bundles, fixed),
        positive=tuple(positive.split(",")),
        negative=tuple(filter(None, negative.split(","))),
        merging=MergeOptions(valid_share=valid_share, seed=split_seed),
        forgotten=read_forgotten(forget) if forget else ForgottenPeople(),
        warm_start=warm_start,
        factory=factory,
        limits=AutoLimits(recall_floor, index_memory, index_seconds, exact_below),
        precision=precision,
        trend_half_life_days=trend_half_life_days,
        encoders=encoders,
        items=items,
        images=images,
        cache=cache,
    )
    result = retraining.retrain(options, out, now=datetime.now(UTC))
    options.registry.evict_copies(result.bundle)
    print(json.dumps(asdict(result)))


@app.command()
def bench(
    model: Annotated[
        list[str] | None, typer.Option(help="This model, or all. Repeatable. [default: LightGCN and AnchorRec]")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps; medians are printed.")] = 15,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    precision: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Of linear layers, as training.precision.")
    ] = "float32",
    *,
    scale: Annotated[
        bool, typer.Option("--scale", help="Instead: graphs, steps, an epoch and memory on catalogues of growing size.")
    ] = False,
    sizes: Annotated[
        str, typer.Option(metavar="N,N...", help="With --scale: numbers of items. [default: 25,000 doubled to 200,000]")
    ] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="With --scale.")] = 65_536,
    epoch: Annotated[bool, typer.Option(help="With --scale: run a whole epoch at the largest size.")] = True,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="With --scale: cost by size.")] = None,
) -> None:
    """Time training steps at the shape of Amazon Baby, on synthetic data; ends with one JSON line.

    With --scale and --model anchorease or anchorease-sparse: from features to a written bundle.

    Example: python -m trainer bench --scale --sizes 25000,50000 --steps 5 --plot scale.png
    """
    from trainer import fit_benchmark
    from trainer import step_benchmark as benchmark

    names = model or (["anchorrec, paper"] if scale else list(benchmark.ALWAYS))
    names = list(benchmark.MODELS) if names == ["all"] else names
    if scale and names[0] in fit_benchmark.CONFIGS:
        _bench_fit(names, _whole_numbers("--sizes", sizes), threads)
        return
    if unknown := sorted(set(names) - benchmark.MODELS.keys()):
        raise InputError(f"unknown model {', '.join(unknown)}; expected {', '.join(benchmark.MODELS)}")
    if scale:
        _bench_scale(names, _whole_numbers("--sizes", sizes), steps, threads, batch_size, epoch=epoch, plot=plot)
        return
    costs = benchmark.bench(names, benchmark.BABY, steps=steps, threads=threads, precision=precision)
    title = f"one step at Baby's shape, batch {benchmark.BATCH_SIZE}, {threads} threads, {precision}"
    Console().print(benchmark.cost_table(costs, title=title))
    print(json.dumps(benchmark.as_record(costs)))


def _bench_fit(names: list[str], sizes: tuple[int, ...], threads: int) -> None:
    from trainer.fit_benchmark import bench_fit, fit_table
    from trainer.scaling_benchmark import SIZES, as_record

    if len(names) > 1 or min(sizes, default=1) < 1:
        raise InputError(f"--scale takes one model and sizes of at least 1, found {', '.join(names)} and {sizes}")
    costs = bench_fit(sizes or SIZES, names[0], threads=threads)
    Console().print(fit_table(costs, title=f"{names[0]}, {threads} threads"))
    records = [as_record(cost) | {"total": round(cost.total, 1)} for cost in costs]
    print(json.dumps({"model": names[0], "threads": threads, "sizes": records}))


def _bench_scale(
    names: list[str],
    sizes: tuple[int, ...],
    steps: int,
    threads: int,
    batch_size: int,
    *,
    epoch: bool,
    plot: Path | None,
) -> None:
    from trainer.scaling_benchmark import SIZES, as_record, bench_scale, plot_scale, scale_table
    from trainer.step_benchmark import MODELS

    if len(names) > 1 or min(sizes, default=1) < 1:
        raise InputError(f"--scale takes one model and sizes of at least 1, found {', '.join(names)} and {sizes}")
    costs = bench_scale(
        sizes or SIZES, MODELS[names[0]], steps=steps, threads=threads, batch_size=batch_size, epoch=epoch
    )
    Console().print(scale_table(costs, title=f"{names[0]}, batch {batch_size:,}, {threads} threads"))
    if plot:
        plot_scale(costs, plot)
    record = {"model": names[0], "batch_size": batch_size, "threads": threads}
    print(json.dumps(record | {"sizes": [as_record(cost) for cost in costs]}))


@app.command("bench-pipeline")
def bench_pipeline(
    sizes: Annotated[
        str,
        typer.Option(metavar="N,N...", help="Numbers of items; two or more give an estimate. [default: to 100,000]"),
    ] = "",
    stage: Annotated[
        list[str] | None, typer.Option(help="prepare, graphs, anchorease, export, lightgcn. Repeatable. [default: all]")
    ] = None,
    full_size: Annotated[int, typer.Option(min=1, help="Items of the size that is estimated.")] = 1_000_000,
    folder: Annotated[Path | None, typer.Option(help="Where a size's files are made and removed.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Cost by size, with the estimate.")] = None,
) -> None:
    """Time the commands from a shop's files to a bundle, on growing sizes; ends with one JSON line.

    Each item has 2 users, 50 interactions, and float16 features 384 and 1,280 wide. The tenth takes half an hour.

    Example: python -m trainer bench-pipeline --sizes 10000,20000,40000 --stage prepare --plot pipeline.png
    """
    from dataclasses import asdict

    from trainer import pipeline_benchmark as benchmark
    from trainer.pipeline_estimate import plot_pipeline

    chosen, numbers = tuple(stage or benchmark.STAGES), _whole_numbers("--sizes", sizes) or benchmark.SIZES
    if unknown := set(chosen) - set(benchmark.STAGES):
        raise InputError(f"unknown stage {', '.join(unknown)}; expected {', '.join(benchmark.STAGES)}")
    if min(numbers) <= benchmark.START_SIZE:
        raise InputError(f"--sizes has {min(numbers)}; expected more than {benchmark.START_SIZE} items")
    costs = benchmark.bench_pipeline(numbers, chosen, parent=folder)
    found = benchmark.estimates(costs, full_size)
    Console().print(benchmark.pipeline_table(costs, title="from a shop's files to a bundle"))
    Console().print(benchmark.estimate_table(found, title=f"estimate for {full_size:,} items, 90 % interval"))
    if plot:
        plot_pipeline(costs, found, full_size, plot)
    of_stages = {name: {key: asdict(law) for key, law in laws.items()} for name, laws in found.items()}
    print(json.dumps({"measured": [asdict(c) for c in costs], "full_size": full_size, "estimates": of_stages}))


@app.command("verify-golden")
def verify_golden(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Recorded numbers of a reference implementation.")],
    model: Annotated[str, typer.Option(help="Name of the model that the file was recorded from.")],
) -> None:
    """Replay a reference implementation's recorded batches and print the largest absolute difference per quantity.

    Of anchorease, differences are shares of a quantity's largest value, by the exact inverse and by subspace iteration.
    Exit status 0 only if every difference is within 1e-5; what subspace iteration finds, within 1e-3.
    """
    from trainer.golden import tolerance_of
    from trainer.golden import verify_golden as differences_of

    differences = differences_of(model, file)
    table = Table("quantity", "largest difference", "", title=f"{model} against {file.name}")
    for name, difference in differences.items():
        table.add_row(name, f"{difference:.2e}", "ok" if difference <= tolerance_of(name) else "TOO FAR")
    Console().print(table)
    raise typer.Exit(0 if all(difference <= tolerance_of(name) for name, difference in differences.items()) else 1)


def _whole_numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"{option} is {text!r}, expected whole numbers such as 5,10,20") from None


if __name__ == "__main__":
    run_cli(app)
