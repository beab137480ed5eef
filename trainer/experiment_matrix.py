"""Models x data sets x seeds: what is to be run, each run once, and what the differences are worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from index.errors import InputError
from trainer.config import RunConfig, load_config
from trainer.data import Dataset, load_dataset
from trainer.evaluator import METRICS, figure_names, list_lengths, per_user_names
from trainer.fit import fit
from trainer.inputs import require_features
from trainer.run_folder import RunFolder, RunResult
from trainer.statistics import PairedTest, holm, paired_test

Array = np.ndarray[Any, np.dtype[Any]]

FEWEST_RESAMPLES = 1000
"""Of the bootstrap behind a paired test, also where single runs go without intervals."""


class Cell(NamedTuple):
    """One configuration on one data set."""

    data: str
    config: str


Results = Mapping[Cell, Mapping[int, RunResult]]
"""By cell and seed."""


@dataclass(frozen=True)
class Versus:
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
class Plan:
    """All that is to be run, checked and loaded."""

    datasets: Mapping[str, Dataset]
    configs: Mapping[str, RunConfig]
    seeds: tuple[int, ...]
    """Empty: each configuration's own."""
    out: Path

    @property
    def flat(self) -> bool:
        """Whether a run's folder is `out/<config>`, as for one data set without given seeds."""
        return len(self.datasets) == 1 and not self.seeds

    def cells(self) -> list[Cell]:
        """Every configuration on every data set."""
        return [Cell(data, config) for data in self.datasets for config in self.configs]

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
) -> Plan:
    """Load and check everything, so that what is wrong is said before the first epoch.

    Args:
        data: prepared folders; a data set goes by the name of its folder.
        configs: shipped names or TOML files; a configuration goes by the name of its file.
        out: gets one run folder per run: `<config>` for one data set without seeds, else `<data>/<config>/<seed>`.
        overrides: `key=value` applied to every configuration.
        seeds: in place of the configurations' own.

    Raises:
        InputError: a name stands twice, an override fits a configuration not, a data set is none or lacks features
            that a model needs, the configurations would not be measured alike, or a folder holds another run.
    """
    _check_distinct("seeds", [str(seed) for seed in seeds])
    if seeds and any(override.partition("=")[0].strip() == "seed" for override in overrides):
        raise InputError("seeds are given twice: as --seeds and as --set seed=...")
    loaded = {Path(name).stem: _load(name, overrides) for name in configs}
    _check_distinct("configurations", [Path(name).stem for name in configs])
    _check_measured_alike(loaded)
    _check_distinct("data sets", [path.resolve().name for path in data])
    plan = Plan({path.resolve().name: load_dataset(path) for path in data}, loaded, seeds, out)
    for cell in plan.cells():
        require_features(plan.configs[cell.config].model, plan.datasets[cell.data].features)
        for config, folder in plan.runs(cell).values():
            if folder.path.exists():
                folder.claim(config, plan.datasets[cell.data])
    return plan


def run_plan(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Results:
    """Fit whatever is not finished yet; `tell` hears which run is next."""
    results: dict[Cell, dict[int, RunResult]] = {}
    for cell in plan.cells():
        results[cell] = {}
        for seed, (config, folder) in plan.runs(cell).items():
            tell(f"{cell.data}, {cell.config}, seed {seed}")
            results[cell][seed] = fit(plan.datasets[cell.data], config, folder)
    return results


def check_choice(plan: Plan, baseline: str, metrics: Sequence[str]) -> None:
    """Refuse a baseline that is not compared and metrics that are not measured."""
    if baseline not in plan.configs:
        raise InputError(f"baseline {baseline!r} is none of the configurations {', '.join(plan.configs)}")
    for name, config in plan.configs.items():
        unknown = [metric for metric in metrics if metric not in figure_names(config)]
        if unknown:
            known = f"{', '.join(METRICS)} at {', '.join(map(str, list_lengths(config)))}"
            raise InputError(f"{unknown[0]} is not measured by {name}: expected one of {known}")


def paired_tests(plan: Plan, baseline: str, metrics: Sequence[str]) -> list[Versus]:
    """Every other configuration against the baseline by each metric that users have values of.

    Raises:
        InputError: a run was finished without measuring the test split.
    """
    tested = [metric for metric in metrics if metric in per_user_names(plan.configs[baseline])]
    return [versus for metric in tested for versus in _tests_by(plan, baseline, metric)]


def _tests_by(plan: Plan, baseline: str, metric: str) -> Iterator[Versus]:
    cells = [cell for cell in plan.cells() if cell.config != baseline]
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
        yield Versus(cell, baseline, metric, test, *corrected)


def _user_means(plan: Plan, cell: Cell, metric: str) -> Array:
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
            "what only one model knows belongs into a TOML file of its own"
        ) from None


def _check_distinct(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{what} must differ in name, found {', '.join(names)}")


def _check_measured_alike(configs: Mapping[str, RunConfig]) -> None:
    (first, reference), *others = configs.items()
    for name, config in others:
        if config.evaluation != reference.evaluation:
            raise InputError(
                f"{first} and {name} are not measured alike: {reference.evaluation!r} and {config.evaluation!r}"
            )
