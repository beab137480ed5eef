"""What `fit` does without a configuration: AnchorEASE, its settings searched on the data within a time budget."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from index.errors import InputError
from trainer.config import DEFAULT_CONFIG, RunConfig, load_config
from trainer.data import Dataset
from trainer.model_settings import MODALITIES, SINGLE_MODALITIES
from trainer.run_folder import TUNING, RunFolder
from trainer.tune.command import tune
from trainer.tune.space import SearchSpace, read_space
from trainer.tune.study import TuningPlan

PRESETS = ("anchorease", "anchorease-sparse")
"""Configurations that a search for AnchorEASE's settings tries first."""
OF_THE_ORDER = ("model.order_share", "model.direction", "model.recency_tau", "model.recency_floor")


def tuned_config(
    dataset: Dataset, overrides: tuple[str, ...], run: Path, *, budget: float, console: Console
) -> RunConfig:
    """Search AnchorEASE's settings into RUN/tuning; the configuration of a run that is already there stays.

    InputError where that run has other values of the overrides, or nothing is held out for validation.
    """
    if (run / "config.toml").is_file():
        return _config_there(run, overrides)
    space = fitting_space(read_space(DEFAULT_CONFIG), dataset, overrides)
    plan = TuningPlan(
        DEFAULT_CONFIG,
        space,
        overrides,
        sampler="steps",
        timeout=budget,
        starts=preset_points(space),
        validation="time",
    )
    tune(dataset, plan, run / TUNING, console=console)
    return load_config(str(run / TUNING / "best.toml"))


def fitting_space(space: SearchSpace, dataset: Dataset, overrides: tuple[str, ...]) -> SearchSpace:
    """The space without settings that are fixed, that concern features which the data lack, or an unknown order."""
    fixed = {override.partition("=")[0].strip() for override in overrides}
    taken = set(SINGLE_MODALITIES) & set(dataset.features) or {"multimodal"}
    absent = set(MODALITIES) - (taken & set(dataset.features))
    left_out = fixed | (set() if dataset.timed else {*OF_THE_ORDER})
    kept = {
        name: values
        for name, values in space.distributions.items()
        if name not in left_out and name.rpartition(".")[2] not in absent
    }
    return SearchSpace(space.source, kept)


def preset_points(space: SearchSpace, names: Iterable[str] = PRESETS) -> tuple[dict[str, object], ...]:
    """What the presets say of the searched settings."""
    return tuple(space.point_in(load_config(name), name) for name in names)


def _config_there(run: Path, overrides: tuple[str, ...]) -> RunConfig:
    found = RunFolder(run).config()
    if load_config(str(run / "config.toml"), overrides) != found:
        raise InputError(f"{run} holds a run of other settings than {', '.join(overrides)}; choose an empty folder")
    return found
