"""`python -m trainer tune`: search, write the results, and fit the best settings."""

import shutil
from pathlib import Path
from time import monotonic

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console

from index.errors import InputError
from index.storage import locked, replace_file
from trainer.config import RunConfig, dump_config
from trainer.data import Dataset
from trainer.fit import fit
from trainer.models import Shared
from trainer.progress import spoken
from trainer.run_folder import RunFolder, RunResult
from trainer.tune.embedding_size import chosen_size, compare_sizes, size_table, with_size
from trainer.tune.results import plot_study, score_of, write_results
from trainer.tune.study import TuningPlan, best_trial, counted_trials, open_study, run_trials


def tune(dataset: Dataset, search: TuningPlan, folder: Path, *, console: Console) -> Study:
    """Run or continue the study in `folder`, print its progress on `console`, and write its results.

    The test split is not touched. Results are written after every trial, so that a killed search leaves them too.

    Raises:
        InputError: the space does not fit the configuration, the folder is another study's, another process is
            tuning in it, or no trial could finish.
    """
    if search.validation == "time":
        dataset = dataset.with_time_validation()
    if not len(dataset.split("valid")):
        raise InputError(
            f"{dataset.path}: nothing is held out for validation, by which settings are chosen;"
            " `fit` trains with given settings"
        )
    search.space.check(search.config, search.overrides)
    if search.sampler == "grid":
        search.space.points()
    study = open_study(folder, search, dataset)

    shared: Shared = {}
    before, started = len(counted_trials(study)), monotonic()

    def after_each(trial: FrozenTrial) -> None:
        write_results(study, search, folder)
        done = len(counted_trials(study)) - before
        left = f"about {spoken(seconds_left(search, done, before, monotonic() - started))} left"
        console.print(f"{_line(study, search, trial)}; {left}", highlight=False, soft_wrap=True)

    try:
        with locked(folder, wait=False):
            run_trials(study, search, dataset, folder, after_each=after_each, shared=shared)
    except BlockingIOError:
        raise InputError(f"another process is tuning in {folder}") from None
    _require_a_best(study)
    write_results(study, search, folder)
    if search.chooses_size:
        _choose_size(dataset, study, search, folder, console, shared=shared)
    plot_study(study, search, folder / "study.png")
    return study


def seconds_left(search: TuningPlan, done: int, before: int, seconds: float) -> float:
    """Of a search that made `done` trials in so many seconds: until its trials are made, or until its time is up."""
    wanted = len(search.space.points()) if search.sampler == "grid" and search.trials is None else search.wanted_trials
    return max(0.0, min(search.seconds - seconds, seconds / done * (wanted - before - done)))


def _choose_size(
    dataset: Dataset, study: Study, search: TuningPlan, folder: Path, console: Console, *, shared: Shared
) -> None:
    """Print what fewer and more dimensions reach and cost, and write the chosen number into best.toml."""
    best = best_trial(study)
    assert best is not None
    config = search.configured(best.params)
    trials = compare_sizes(dataset, config, shared)
    console.print(size_table(trials, search.metric))
    replace_file(folder / "best.toml", dump_config(with_size(config, chosen_size(trials))).encode())


def fit_best(dataset: Dataset, config: RunConfig, path: Path) -> RunResult:
    """Fit the chosen configuration and measure it on test; a run of an earlier choice in `path` is removed."""
    run = RunFolder(path)
    if path.exists() and run.config() != config:
        shutil.rmtree(path)
    return fit(dataset, config, run)


def _require_a_best(study: Study) -> None:
    if best_trial(study) is None:
        reasons = [trial.user_attrs["reason"] for trial in study.trials if "reason" in trial.user_attrs]
        detail = f"; the first failed: {reasons[0]}" if reasons else ""
        raise InputError(f"none of {len(counted_trials(study))} trials finished{detail}")


def _line(study: Study, search: TuningPlan, trial: FrozenTrial) -> str:
    score, best = score_of(trial), best_trial(study)
    figure = "no score" if score is None else f"valid {search.metric} {score:.4f}"
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    best_so_far = f", best {best.value:.4f} of trial {best.number}" if best else ""
    return f"trial {trial.number} {trial.state.name.lower()}: {figure} after {seconds:.1f} s{best_so_far}"
