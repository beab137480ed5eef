"""Models x data sets x seeds: plans the runs, fits each once, and tests the differences."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from index.errors import InputError
from trainer.config import RunConfig, load_config
from trainer.data import Dataset, load_dataset
from trainer.evaluator import METRICS, figure_names, list_lengths, per_user_names
from trainer.expressiveness import FIGURES
from trainer.fit import fit
from trainer.inputs import require_data
from trainer.progress import print_status, spoken
from trainer.run_folder import RunFolder, RunResult
from trainer.splits import Protocol
from trainer.statistics import PairedTest, holm, paired_test

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_RESAMPLES = 1000
"""Bootstrap resamples of a paired test, also where single runs have no intervals."""


class Cell(NamedTuple):
    """One configuration on one data set."""

    data: str
    config: str


Results = Mapping[Cell, Mapping[int, RunResult]]
"""By cell and seed."""


@dataclass(frozen=True)
class BaselineComparison:
    """A configuration against the baseline on one data set by one metric, seeds averaged per user first."""

    cell: Cell
    baseline: str
    metric: str
    test: PairedTest
    holm_t: float
    holm_wilcoxon: float
    holm_bootstrap: float
    """p-values adjusted for all comparisons by the same metric."""


@dataclass(frozen=True)
class ExperimentPlan:
    """The runs of a comparison, with their data loaded and their settings checked."""

    datasets: Mapping[str, Dataset]
    configs: Mapping[str, RunConfig]
    seeds: tuple[int, ...]
    """Empty: each configuration's own."""
    out: Path
    flat: bool
    """Whether a run's folder is `out/<config>`, as for one data set without given splits and seeds."""
    left_out: Mapping[Cell, str] = field(default_factory=dict)
    """What is not run, and why."""

    def cells(self) -> list[Cell]:
        """Every configuration on every data set, but those left out."""
        every = [Cell(data, config) for data in self.datasets for config in self.configs]
        return [cell for cell in every if cell not in self.left_out]

    def first_on_all(self) -> str:
        """The first configuration that no data set leaves out, which is the baseline where none is named."""
        left_out = {cell.config for cell in self.left_out}
        return next((name for name in self.configs if name not in left_out), next(iter(self.configs)))

    def runs(self, cell: Cell) -> dict[int, tuple[RunConfig, RunFolder]]:
        """A cell's configuration and folder by seed."""
        config = self.configs[cell.config]
        seeds = self.seeds or (config.seed,)
        return {seed: (config.model_copy(update={"seed": seed}), self._folder(cell, seed)) for seed in seeds}

    def _folder(self, cell: Cell, seed: int) -> RunFolder:
        return RunFolder(self.out / cell.config if self.flat else self.out / cell.data / cell.config / str(seed))


def make_plan(
    data: Sequence[Path],
    configs: Sequence[str],
    out: Path,
    *,
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    splits: Sequence[Protocol] = (),
    optional: Collection[str] = (),
) -> ExperimentPlan:
    """Load and check everything, so that errors appear before the first epoch.

    Args:
        data: prepared folders; the folder's name is the data set's name.
        configs: shipped names or TOML files; the file's name is the configuration's name.
        out: gets one run folder per run: `<config>` for one data set without seeds, else `<data>/<config>/<seed>`.
        overrides: `key=value` applied to every configuration.
        seeds: in place of the configurations' own.
        splits: of every data set, which is then named `<data>-<split>` where there are several.
        optional: configurations that are left out where the data lack what they need, with a printed reason.

    Raises:
        InputError: a name occurs twice, a configuration rejects an override, a folder is not a data set or lacks
            features that a model needs, evaluation settings differ, or a folder holds another run.
    """
    _check_distinct("seeds", [str(seed) for seed in seeds])
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise InputError(f"seeds are {', '.join(map(str, seeds))}; expected numbers from 0 to {2**32 - 1}")
    if seeds and any(override.partition("=")[0].strip() == "seed" for override in overrides):
        raise InputError("seeds are given twice: as --seeds and as --set seed=...")
    loaded = {Path(name).stem: _load(name, overrides) for name in configs}
    _check_distinct("configurations", [Path(name).stem for name in configs])
    _check_measured_alike(loaded)
    _check_distinct("data sets", [path.resolve().name for path in data])
    _check_distinct("splits", splits)
    flat = len(data) == 1 and len(splits) < 2 and not seeds
    datasets = dict(_labelled(data, splits or ("given",)))
    left_out = dict(_lacking(datasets, {name: loaded[name] for name in loaded if name in optional}))
    plan = ExperimentPlan(datasets, loaded, seeds, out, flat, left_out)
    for cell in plan.cells():
        require_data(plan.configs[cell.config].model, plan.datasets[cell.data])
        for config, folder in plan.runs(cell).values():
            if folder.path.exists():
                folder.claim(config, plan.datasets[cell.data])
    return plan


def _labelled(data: Sequence[Path], splits: Sequence[Protocol]) -> Iterator[tuple[str, Dataset]]:
    """Each data set by name with the labels of each split; labels that a former split has given are not repeated."""
    for path in data:
        prepared = load_dataset(path)
        known: dict[str, str] = {}
        for split in splits:
            name = f"{path.resolve().name}-{split}" if len(splits) > 1 else path.resolve().name
            dataset = prepared.with_split(split)
            if dataset.fingerprint in known:
                print_status(f"{name} is left out: {known[dataset.fingerprint]} has the same labels")
                continue
            known[dataset.fingerprint] = name
            yield name, dataset


def _lacking(datasets: Mapping[str, Dataset], configs: Mapping[str, RunConfig]) -> Iterator[tuple[Cell, str]]:
    for cell in (Cell(data, config) for data in datasets for config in configs):
        try:
            require_data(configs[cell.config].model, datasets[cell.data])
        except InputError as error:
            print_status(f"{cell.data}: {cell.config} is left out: {error}")
            yield cell, str(error)


def run_plan(plan: ExperimentPlan, on_run: Callable[[str], None] = lambda _: None) -> Results:
    """Fit the runs that are not finished; calls `on_run` with the name of each run before it starts.

    The name has the time left where each configuration that is left has run before, as with several seeds.
    """
    results: dict[Cell, dict[int, RunResult]] = {cell: {} for cell in plan.cells()}
    runs = [(cell, seed) for cell in results for seed in plan.runs(cell)]
    seconds: dict[str, float] = {}  # of a configuration's latest run
    for number, (cell, seed) in enumerate(runs, start=1):
        rest = [later.config for later, _ in runs[number - 1 :]]
        left = f", about {spoken(sum(map(seconds.__getitem__, rest)))} left" if seconds.keys() >= {*rest} else ""
        on_run(f"{cell.data}, {cell.config}, seed {seed} (run {number} of {len(runs)}{left})")
        started = monotonic()
        config, folder = plan.runs(cell)[seed]
        results[cell][seed] = fit(plan.datasets[cell.data], config, folder)
        seconds[cell.config] = monotonic() - started
    return results


def check_choice(plan: ExperimentPlan, baseline: str, metrics: Sequence[str]) -> None:
    """Refuse a baseline that is not compared and metrics that are not measured."""
    compared = dict.fromkeys(cell.config for cell in plan.cells())
    if baseline not in compared:
        raise InputError(f"baseline {baseline!r} is none of the configurations {', '.join(compared)}")
    for name, config in plan.configs.items():
        unknown = [metric for metric in metrics if metric not in figure_names(config)]
        if unknown:
            known = f"{', '.join(METRICS)} at {', '.join(map(str, list_lengths(config)))}, or {', '.join(FIGURES)}"
            raise InputError(f"{unknown[0]} is not measured by {name}: expected one of {known}")


def paired_tests(plan: ExperimentPlan, baseline: str, metrics: Sequence[str]) -> list[BaselineComparison]:
    """Every other configuration against the baseline by each metric that users have values of.

    Data sets of which nothing is held out for test, or that leave the baseline out, are left out.

    Raises:
        InputError: a run was finished without measuring the test split.
    """
    tested = [metric for metric in metrics if metric in per_user_names(plan.configs[baseline])]
    return [versus for metric in tested for versus in _tests_by(plan, baseline, metric)]


def _tests_by(plan: ExperimentPlan, baseline: str, metric: str) -> Iterator[BaselineComparison]:
    tested = {data for data, dataset in plan.datasets.items() if len(dataset.split("test"))}
    tested -= {cell.data for cell in plan.left_out if cell.config == baseline}
    cells = [cell for cell in plan.cells() if cell.config != baseline and cell.data in tested]
    settings, rng = plan.configs[baseline].evaluation, np.random.default_rng(plan.configs[baseline].seed)
    tests = [
        paired_test(
            _user_means(plan, cell, metric),
            _user_means(plan, Cell(cell.data, baseline), metric),
            n_resamples=max(settings.bootstrap, FEWEST_RESAMPLES),
            confidence=settings.confidence,
            rng=rng,
        )
        for cell in cells
    ]
    p_values = ([test.p_t for test in tests], [test.p_wilcoxon for test in tests], [test.p_bootstrap for test in tests])
    adjusted = zip(*map(holm, p_values), strict=True)
    for cell, test, corrected in zip(cells, tests, adjusted, strict=True):
        yield BaselineComparison(cell, baseline, metric, test, *corrected)


def _user_means(plan: ExperimentPlan, cell: Cell, metric: str) -> Array:
    """(m,) a metric of every user, averaged over the seeds; NaN where a user has no value."""
    runs = [folder.users()[metric] for _, folder in plan.runs(cell).values()]
    per_seed = [run.cast(float).fill_null(np.nan).to_numpy() for run in runs]
    return np.asarray(np.mean(per_seed, axis=0))


def _load(name: str, overrides: tuple[str, ...]) -> RunConfig:
    plain = load_config(name)
    try:
        return load_config(name, overrides) if overrides else plain
    except InputError as error:
        raise InputError(
            f"configuration {name!r} does not take the overrides given to all ({error}); "
            "settings of a single model belong into its own TOML file"
        ) from None


def _check_distinct(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{what} must differ in name, found {', '.join(names)}")


def _check_measured_alike(configs: Mapping[str, RunConfig]) -> None:
    (first, reference), *others = configs.items()
    for name, config in others:
        if config.evaluation != reference.evaluation:
            raise InputError(
                f"{first} and {name} have other evaluation settings: {reference.evaluation!r} and {config.evaluation!r}"
            )
