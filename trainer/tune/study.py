"""The study: trials one after another, each a training run judged on validation, kept in SQLite.

Layout of the folder:

study.db       every trial with its settings, its score after each evaluation, and how it ended
trials/NNNN    configuration and metrics of a trial's run; its checkpoints only while it runs
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from index.errors import InputError
from trainer.config import RunConfig, dump_config
from trainer.data import Dataset
from trainer.fit import fit
from trainer.run_folder import RunFolder
from trainer.tune.space import Space, Values, configured

SamplerName = Literal["tpe", "random", "grid"]
PrunerName = Literal["median", "hyperband", "none"]

STUDY_NAME = "tune"
DEFAULT_TRIALS = 30
MAX_ATTEMPTS = 3
"""A trial whose process was killed is taken up again this often in all; after that it may be what kills it."""
TRIALS_BEFORE_PRUNING = 5
WARM_UP_SHARE = 0.1
"""Share of the epochs before which the median pruner ends nothing."""


@dataclass(frozen=True)
class Search:
    """What is searched, how, and for how long."""

    config: str
    space: Space
    overrides: tuple[str, ...] = ()
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    trials: int | None = None
    """Trials in all, those of earlier calls included; None is the whole grid, or DEFAULT_TRIALS."""
    timeout: float = float("inf")
    """Seconds after which no further trial is begun."""
    seed: int = 0
    starts: tuple[dict[str, Any], ...] = ()
    """Points that are tried before anything else is proposed."""

    def configured(self, values: Values) -> RunConfig:
        """The configuration of a trial."""
        return configured(self.config, self.overrides, values)

    @property
    def metric(self) -> str:
        """The validation figure that is maximised: the one that also chooses a run's best epoch."""
        return self.configured({}).training.metric


def open_study(folder: Path, search: Search, dataset: Dataset) -> Study:
    """Begin a study in an empty folder, or go on with the one that is there.

    Raises:
        InputError: the folder holds something else, or a study of another configuration, space or data set.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = folder / "study.db"
    if not database.exists() and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no study; choose an empty folder to tune in")
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{database.resolve()}",
        study_name=STUDY_NAME,
        direction="maximize",
        pruner=_pruner(search),
        load_if_exists=True,
    )
    _claim(study, search, dataset)
    return study


def run_trials(
    study: Study,
    search: Search,
    dataset: Dataset,
    folder: Path,
    *,
    after_each: Callable[[FrozenTrial], None],
    clock: Callable[[], float] = monotonic,
) -> None:
    """Take up what a killed process left, then run trials until there are enough or time is up."""
    _take_up_interrupted(study)
    _enqueue(study, [*search.starts, *(search.space.points() if search.sampler == "grid" else ())])
    started = clock()
    while _remaining(study, search) > 0 and clock() - started < search.timeout:
        # A draw depends on the seed and the trials before it alone, so a resumed study proposes what an unbroken one
        # would have proposed.
        study.sampler = _sampler(search, len(counted_trials(study)))
        trial = study.ask(dict(search.space.distributions))
        _run_trial(study, trial, search, dataset, folder)
        after_each(study.trials[trial.number])


def counted_trials(study: Study) -> list[FrozenTrial]:
    """Trials that have come to an end of their own; one that was killed and taken up again counts once."""
    retried = {trial.user_attrs.get("retry_of") for trial in study.trials}
    return [trial for trial in study.trials if trial.state.is_finished() and trial.number not in retried]


def best_trial(study: Study) -> FrozenTrial | None:
    """The finished, unpruned trial with the highest validation score; among equals the earliest."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def _claim(study: Study, search: Search, dataset: Dataset) -> None:
    """Write down what the study is of, or compare with what is written down."""
    origin = {
        "data": [dataset.fingerprint],
        "configuration": dump_config(search.configured({})).splitlines(),
        "space": [f"{name}: {distribution}" for name, distribution in search.space.distributions.items()],
    }
    found = study.user_attrs.get("origin")
    if found is None:
        study.set_user_attr("origin", origin)
        return
    for part, expected in origin.items():
        for there, here in zip_longest(found[part], expected):
            if there != here:
                raise InputError(f"the study there is of another {part}: found {there!r}, expected {here!r}")


def _pruner(search: Search) -> BasePruner:
    settings = search.configured({}).training
    if search.pruner == "median":
        warm_up = int(settings.epochs * WARM_UP_SHARE)
        return MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=warm_up)
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=settings.evaluate_every, max_resource=max(settings.epochs, 1))
    return NopPruner()


def _sampler(search: Search, n_before: int) -> BaseSampler:
    seed = search.seed * 1_000_003 + n_before
    return TPESampler(seed=seed) if search.sampler == "tpe" else RandomSampler(seed=seed)


def _remaining(study: Study, search: Search) -> int:
    wanted = DEFAULT_TRIALS if search.trials is None else search.trials
    if search.sampler != "grid":
        return wanted - len(counted_trials(study))
    waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
    return waiting if search.trials is None else min(waiting, wanted - len(counted_trials(study)))


def _enqueue(study: Study, points: list[dict[str, Any]]) -> None:
    """Put the points in line that no trial has had and that are not in line yet."""
    known = [_values(trial) for trial in study.get_trials(deepcopy=False)]
    for point in points:
        if point not in known:
            study.enqueue_trial(point)
            known.append(point)


def _values(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial; one that waits, or was killed at once, has them as what was put in line."""
    in_line: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return in_line | trial.params


def _take_up_interrupted(study: Study) -> None:
    """Fail the trials whose process is gone and put their settings in line again, in the same run folder."""
    in_line = {trial.user_attrs.get("retry_of") for trial in study.trials}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        attempt = trial.user_attrs.get("attempt", 1)
        # Killed between these two steps, the next call finds the trial still running and its successor in line.
        if attempt < MAX_ATTEMPTS and trial.number not in in_line:
            attributes = {"retry_of": trial.number, "attempt": attempt + 1, "folder": _folder_name(trial)}
            study.enqueue_trial(_values(trial), user_attrs=attributes)
        study.tell(trial.number, state=TrialState.FAIL)


def _folder_name(trial: Trial | FrozenTrial) -> str:
    name: str = trial.user_attrs.get("folder", f"{trial.number:04d}")
    return name


def _run_trial(study: Study, trial: Trial, search: Search, dataset: Dataset, folder: Path) -> None:
    run = RunFolder(folder / "trials" / _folder_name(trial))
    if run.path.exists() and not (run.path / "config.toml").exists():  # killed while it made its folder
        shutil.rmtree(run.path)

    def follow(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        result = fit(dataset, search.configured(trial.params), run, on_evaluation=follow, final=False)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except InputError as error:  # a loss that is not finite: the next settings may do better
        trial.set_user_attr("reason", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        trial.set_user_attr("best_epoch", result.best_epoch)
        study.tell(trial, result.valid[search.metric])
    for name in ("last.pt", "best.pt"):
        with suppress(FileNotFoundError):
            (run.path / name).unlink()
