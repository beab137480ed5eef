"""Results of a study: the best settings as a configuration, all trials as a table, and plots."""

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution
from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from index.storage import replace_file
from trainer.config import dump_config
from trainer.run_folder import RunResult
from trainer.tune.study import TuningPlan, best_trial, counted_trials

MIN_TRIALS_FOR_IMPORTANCE = 4
PANELS_A_ROW = 4


def write_results(study: Study, search: TuningPlan, folder: Path) -> None:
    """Write trials.csv and, once a trial has finished, best.toml."""
    replace_file(folder / "trials.csv", trials_csv(study, search).encode())
    best = best_trial(study)
    if best is not None:
        replace_file(folder / "best.toml", dump_config(search.configured(best.params)).encode())


def trials_csv(study: Study, search: TuningPlan) -> str:
    """One line a trial, killed ones included: how it ended, its score, epochs, seconds, settings."""
    counted = {trial.number for trial in counted_trials(study)}
    text = io.StringIO()
    names = list(search.space.distributions)
    writer = csv.DictWriter(
        text, ["trial", "state", search.metric, "best_epoch", "epochs", "seconds", *names, "reason"]
    )
    writer.writeheader()
    for trial in study.trials:
        if trial.state.is_finished():
            writer.writerow(_row(trial, search.metric, killed=trial.number not in counted))
    return text.getvalue()


def _row(trial: FrozenTrial, metric: str, *, killed: bool) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": "killed" if killed else trial.state.name.lower(),
        metric: score_of(trial),
        "best_epoch": trial.user_attrs.get("best_epoch"),
        "epochs": max(trial.intermediate_values, default=-1) + 1,
        "seconds": trial.duration and round(trial.duration.total_seconds(), 1),
        "reason": trial.user_attrs.get("reason"),
    } | trial.params


def score_of(trial: FrozenTrial) -> float | None:
    """The trial's best validation score so far, also where it was pruned."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return max(trial.intermediate_values.values(), default=None)


def best_table(study: Study, search: TuningPlan, n: int = 10) -> Table:
    """The `n` best finished trials, best first, each with what differs from the first starting point, if any."""
    start = search.starts[0] if search.starts else {}
    table = Table(title="best trials by validation" + (": what they change" if start else ""))
    for heading in ("trial", search.metric, "best epoch"):
        table.add_column(heading, justify="right")
    table.add_column("settings")
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    for trial in sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:n]:
        changed = {name: value for name, value in trial.params.items() if start.get(name) != value}
        settings = ", ".join(f"{_last_name(name)} {_short(value)}" for name, value in changed.items())
        table.add_row(str(trial.number), f"{trial.value:.4f}", str(trial.user_attrs["best_epoch"]), settings)
    return table


def final_table(result: RunResult) -> Table:
    """The figures of the chosen settings on both splits, for every metric that both have."""
    table = Table("metric", "valid", "test", title=f"best settings, epoch {result.best_epoch}")
    for metric in (name for name in result.valid if name in result.test):
        table.add_row(metric, f"{result.valid[metric]:.4f}", f"{result.test[metric]:.4f}")
    return table


def _last_name(setting: str) -> str:
    return setting.partition(".")[2]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def plot_study(study: Study, search: TuningPlan, path: Path) -> None:
    """Draw the scores in the order of trials, the settings' importances, and the scores by each setting (PNG)."""
    names = list(search.space.distributions)
    rows = 1 + -(-len(names) // PANELS_A_ROW)
    figure = Figure(figsize=(14, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, PANELS_A_ROW)
    _draw_history(figure.add_subplot(grid[0, : PANELS_A_ROW // 2]), study, search.metric)
    _draw_importances(figure.add_subplot(grid[0, PANELS_A_ROW // 2 :]), study)
    for place, name in enumerate(names):
        _draw_setting(figure.add_subplot(grid[1 + place // PANELS_A_ROW, place % PANELS_A_ROW]), study, search, name)
    figure.savefig(path, dpi=110)


def _draw_history(axes: Axes, study: Study, metric: str) -> None:
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    pruned = [trial for trial in study.get_trials(states=(TrialState.PRUNED,)) if trial.intermediate_values]
    numbers, scores = [trial.number for trial in complete], [trial.value or 0.0 for trial in complete]
    axes.plot(numbers, scores, "o", label="finished")
    axes.plot([trial.number for trial in pruned], [score_of(trial) or 0.0 for trial in pruned], "x", label="pruned")
    axes.step(numbers, np.maximum.accumulate(scores), where="post", label="best so far")
    axes.set(title=f"validation {metric} by trial", xlabel="trial")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _draw_importances(axes: Axes, study: Study) -> None:
    axes.set(title="importance (PED-ANOVA)")
    if len(study.get_trials(states=(TrialState.COMPLETE,))) < MIN_TRIALS_FOR_IMPORTANCE:
        axes.text(0.5, 0.5, f"needs {MIN_TRIALS_FOR_IMPORTANCE} finished trials", ha="center")
        axes.set_axis_off()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where all scores tie, equal importances are the right answer
        importances = get_param_importances(study)
    axes.barh([_last_name(name) for name in importances], list(importances.values()))
    axes.invert_yaxis()


def _draw_setting(axes: Axes, study: Study, search: TuningPlan, name: str) -> None:
    """Scores against one setting: numbers where they lie, other values in the order of the space."""
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    distribution = search.space.distributions[name]
    values = [trial.params[name] for trial in complete]
    if isinstance(distribution, CategoricalDistribution):
        listed = list(distribution.choices)
        axes.set_xticks(range(len(listed)), [_short(value) for value in listed])
        values = [listed.index(value) for value in values]
    else:
        axes.set(xscale="log" if distribution.log else "linear", xlim=(distribution.low, distribution.high))
    axes.plot(values, [trial.value or 0.0 for trial in complete], "o")
    axes.set(xlabel=name)
    axes.grid(alpha=0.3)
