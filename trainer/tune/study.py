"""The study: sequential trials, each a training run evaluated on validation, stored in SQLite.

Layout of the folder:

study.db       every trial with its settings, its score after each evaluation, and how it ended
trials/NNNN    configuration and metrics of a trial's run; its checkpoints only while it runs
"""

import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from index.errors import InputError
from index.reading import reason
from trainer.config import RunConfig, dump_config
from trainer.data import Dataset
from trainer.fit import fit
from trainer.model_settings import AnchorEASESettings
from trainer.models import Shared, computed_at_once
from trainer.run_folder import RunFolder
from trainer.tune.space import SearchSpace, Values, configured
from trainer.tune.steps import step_from

SamplerName = Literal["tpe", "steps", "random", "grid"]
PrunerName = Literal["median", "hyperband", "none"]
Validation = Literal["time", "given"]

STUDY_NAME = "tune"
DEFAULT_TRIALS = 30
DEFAULT_TRIALS_AT_ONCE = 100
"""Of models that are computed at once: a trial is seconds."""
BUDGET = 600.0
"""Seconds of a search among such models, where none are given."""
MAX_ATTEMPTS = 3
"""Attempts at a trial whose process was killed; after that the trial itself may be the cause."""
TRIALS_BEFORE_PRUNING = 5
WARM_UP_SHARE = 0.1
"""Share of the epochs before which the median pruner stops no trial."""


@dataclass(frozen=True)
class TuningPlan:
    """What to search, how, and for how long."""

    config: str
    space: SearchSpace
    overrides: tuple[str, ...] = ()
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "median"
    trials: int | None = None
    """Trials in all, those of earlier calls included; None is the whole grid, or DEFAULT_TRIALS."""
    timeout: float | None = None
    """Seconds after which no further trial is begun; None is BUDGET for models that are computed at once."""
    seed: int = 0
    starts: tuple[dict[str, Any], ...] = ()
    """Points to try before the sampler proposes any."""
    validation: Validation = "given"
    """`time`: the newest interactions of each user that are not of the test split; `given`: the data's own."""

    def configured(self, values: Values) -> RunConfig:
        """The configuration of a trial."""
        return configured(self.config, self.overrides, values)

    @property
    def at_once(self) -> bool:
        """Whether the model is computed at once, so that a trial is seconds."""
        return computed_at_once(self.configured({}).model)

    @property
    def chooses_size(self) -> bool:
        """Whether the number of dimensions is chosen at the end, from a table: AnchorEASE's, unless it is fixed."""
        given = {override.partition("=")[0].strip() for override in self.overrides}
        return isinstance(self.configured({}).model, AnchorEASESettings) and "model.embedding_size" not in given

    @property
    def seconds(self) -> float:
        """The time limit."""
        if self.timeout is not None:
            return self.timeout
        return BUDGET if self.at_once else math.inf

    @property
    def wanted_trials(self) -> int:
        """How many trials a search that is no whole grid makes."""
        if self.trials is not None:
            return self.trials
        return DEFAULT_TRIALS_AT_ONCE if self.at_once else DEFAULT_TRIALS

    @property
    def metric(self) -> str:
        """The validation figure that is maximised: the one that also chooses a run's best epoch."""
        return self.configured({}).training.metric


def open_study(folder: Path, search: TuningPlan, dataset: Dataset) -> Study:
    """Begin a study in an empty folder, or continue the one in it.

    Raises:
        InputError: the folder holds something else, or a study of another configuration, space or data set.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = folder / "study.db"
    if not database.exists() and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no study; choose an empty folder to tune in")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{quote(str(database.resolve()))}",  # a URL
            study_name=STUDY_NAME,
            direction="maximize",
            pruner=_pruner(search),
            load_if_exists=True,
        )
        _claim(study, search, dataset)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise InputError(f"{database} is no readable study ({reason(error)}); choose an empty folder") from error
    return study


def run_trials(
    study: Study,
    search: TuningPlan,
    dataset: Dataset,
    folder: Path,
    *,
    after_each: Callable[[FrozenTrial], None],
    clock: Callable[[], float] = monotonic,
    shared: Shared | None = None,
) -> None:
    """Retry the trials of a killed process, then run trials until there are enough or time is up."""
    _retry_interrupted(study)
    _enqueue(study, [*search.starts, *(search.space.points() if search.sampler == "grid" else ())])
    started, shared = clock(), {} if shared is None else shared
    while _remaining(study, search) > 0 and clock() - started < search.seconds:
        # A proposal depends on the seed and the earlier trials alone, so a resumed study proposes the same as an
        # uninterrupted one.
        study.sampler = _sampler(search, len(counted_trials(study)))
        if search.sampler == "steps":
            _enqueue_step(study, search)
        trial = study.ask(dict(search.space.distributions))
        _run_trial(study, trial, search, dataset, folder, shared=shared)
        after_each(study.trials[trial.number])


def counted_trials(study: Study) -> list[FrozenTrial]:
    """Finished trials; a trial that was killed and retried counts once."""
    retried = {trial.user_attrs.get("retry_of") for trial in study.trials}
    return [trial for trial in study.trials if trial.state.is_finished() and trial.number not in retried]


def best_trial(study: Study) -> FrozenTrial | None:
    """The finished, unpruned trial with the highest validation score; among equals the earliest."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def _claim(study: Study, search: TuningPlan, dataset: Dataset) -> None:
    """Record the configuration, space and data of a new study; compare them with the record of an old one."""
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


def _pruner(search: TuningPlan) -> BasePruner:
    settings = search.configured({}).training
    if search.pruner == "median":
        warm_up = int(settings.epochs * WARM_UP_SHARE)
        return MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=warm_up)
    if search.pruner == "hyperband":
        return HyperbandPruner(min_resource=settings.evaluate_every, max_resource=max(settings.epochs, 1))
    return NopPruner()


def _sampler(search: TuningPlan, n_before: int) -> BaseSampler:
    seed = search.seed * 1_000_003 + n_before
    return TPESampler(seed=seed) if search.sampler == "tpe" else RandomSampler(seed=seed)


def _remaining(study: Study, search: TuningPlan) -> int:
    wanted = search.wanted_trials
    if search.sampler != "grid":
        return wanted - len(counted_trials(study))
    waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
    return waiting if search.trials is None else min(waiting, wanted - len(counted_trials(study)))


def _enqueue_step(study: Study, search: TuningPlan) -> None:
    """Queue a step from the best point so far, where no point waits."""
    best = best_trial(study)
    if best is None or study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return
    rng = np.random.default_rng([search.seed, len(study.trials)])
    study.enqueue_trial(step_from(best.params, search.space, rng))


def _enqueue(study: Study, points: list[dict[str, Any]]) -> None:
    """Queue the points that no trial has had and that are not queued yet."""
    known = [_values(trial) for trial in study.get_trials(deepcopy=False)]
    for point in points:
        if point not in known:
            study.enqueue_trial(point)
            known.append(point)


def _values(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial; those of a waiting or early killed trial are in its queue entry."""
    queued: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return queued | trial.params


def _retry_interrupted(study: Study) -> None:
    """Mark the trials of a dead process as failed and queue their settings again, in the same run folder."""
    queued = {trial.user_attrs.get("retry_of") for trial in study.trials}
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        attempt = trial.user_attrs.get("attempt", 1)
        # After a kill between these two steps the next call finds the trial still running and its successor queued.
        if attempt < MAX_ATTEMPTS and trial.number not in queued:
            attributes = {"retry_of": trial.number, "attempt": attempt + 1, "folder": _folder_name(trial)}
            study.enqueue_trial(_values(trial), user_attrs=attributes)
        study.tell(trial.number, state=TrialState.FAIL)


def _folder_name(trial: Trial | FrozenTrial) -> str:
    name: str = trial.user_attrs.get("folder", f"{trial.number:04d}")
    return name


def _run_trial(
    study: Study, trial: Trial, search: TuningPlan, dataset: Dataset, folder: Path, *, shared: Shared
) -> None:
    run = RunFolder(folder / "trials" / _folder_name(trial))
    if run.path.exists() and not (run.path / "config.toml").exists():  # killed while it made its folder
        shutil.rmtree(run.path)

    def follow(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        result = fit(dataset, search.configured(trial.params), run, on_evaluation=follow, final=False, shared=shared)
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
