"""Frozen settings of a training run, read from TOML. An unknown key is an error, never a silent default."""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError

from index.errors import InputError
from index.reading import reason
from index.validation import problem as sentence
from trainer.model_settings import FrozenSettings, ModelSettings, Size

CONFIG_FOLDER = Path(__file__).parent / "configs"
"""The configurations that ship with the trainer; `--config anchorrec` names one of them."""
DEFAULT_CONFIG = "anchorease"
ADVICE = (
    f"; all keys with their meaning: docs/training.md and docs/models.md, an example: {CONFIG_FOLDER}/anchorrec.toml"
)


class TrainingSettings(FrozenSettings):
    """Settings of the training loop: optimiser, schedule, early stopping."""

    epochs: Annotated[int, Field(ge=0)] = 200
    batch_size: Size = 2048
    sampler: Literal["vectorised", "users", "mmrec"] = "vectorised"
    """How an epoch is shuffled and its negatives drawn (docs/training.md#samplers)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products with weight matrices; parameters, products with graphs and losses are float32 always."""
    compile: bool = False
    """Run steps through torch.compile: half a minute or more before the first one, to be won back on a GPU."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor that the learning rate has lost after `decay_epochs` epochs: lr_e = lr * decay^(e / decay_epochs)."""
    decay_epochs: Size = 50
    patience: Annotated[int, Field(ge=0)] = 20
    """Evaluations without improvement that are tolerated before training stops."""
    evaluate_every: Size = 1
    """Epochs between two evaluations on the validation split."""
    checkpoint_every: Size = 5
    """Epochs between two checkpoints that an interrupted run resumes from."""
    metric: str = Field(default="recall@20", pattern=r"^(recall|ndcg|precision|map|mrr|hit)@[1-9]\d*$")
    """The validation figure that chooses the best epoch."""


class EvaluationSettings(FrozenSettings):
    """What is measured (docs/evaluation.md)."""

    ks: tuple[Size, ...] = (5, 10, 20, 50)
    mask_valid_at_test: bool = False
    """Leave a user's validation items out of the candidates at test; off in the published figures."""
    cold_at_most: Annotated[int, Field(ge=0)] = 5
    """An item with at most so many training interactions is cold."""
    tail_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The long tail: the least popular items that together hold this share of the training interactions."""
    most_users: Annotated[int, Field(ge=0)] = 0
    """Measure at most so many users of each held-out part, drawn by the seed of the run; 0: all."""
    bootstrap: Annotated[int, Field(ge=0)] = 1000
    """Resamples of the users behind each confidence interval; 0 leaves the intervals out."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class RunConfig(FrozenSettings):
    """Everything that determines a run, besides the data."""

    model: ModelSettings
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 999
    device: Literal["auto", "cpu", "cuda"] = "auto"
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


def load_config(name_or_path: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Read a shipped configuration by name or any TOML file by path, then apply `dotted.key=value` overrides.

    Raises:
        InputError: no such file, not TOML, an unknown key (the nearest known one is named), a value out of range.
    """
    path, values = read_shipped(CONFIG_FOLDER, name_or_path, "configuration")
    return parse_config(values, overrides, source=str(path))


def parse_config(values: dict[str, Any], overrides: tuple[str, ...] = (), *, source: str) -> RunConfig:
    """Validate plain values under the overrides; `source` names where they came from in the error."""
    for override in overrides:
        _override(values, override)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise InputError(f"{source}: {problems}{ADVICE}") from None


def dump_config(config: RunConfig) -> str:
    """Return the whole configuration as TOML, every default written out; `load_config` reads it back equal."""
    return tomli_w.dumps(config.model_dump(mode="json"))


def shipped_configs() -> list[str]:
    """Names that `--config` takes besides a path."""
    return shipped_names(CONFIG_FOLDER)


def read_shipped(folder: Path, name_or_path: str, what: str) -> tuple[Path, dict[str, Any]]:
    """A TOML file that ships in `folder`, by its name there, or any other by path; InputError calls it `what`."""
    shipped = folder / f"{name_or_path}.toml"
    path = shipped if shipped.is_file() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped_names(folder))
        raise InputError(f"{what} {name_or_path!r} not found: expected a TOML file or one of {known}")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {reason(error)}") from None


def shipped_names(folder: Path) -> list[str]:
    """Names that `read_shipped` knows in the folder itself; those in sub-folders are named with them."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def _override(values: dict[str, Any], override: str) -> None:
    """Set one dotted key; the value is read as TOML, and as a bare string where that fails."""
    dotted, found, text = override.partition("=")
    if not found:
        raise InputError(f"override {override!r} is not of the form key=value, e.g. training.epochs=50")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *groups, key = dotted.strip().split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise InputError(f"override {override!r}: {group} is one setting, not a group of settings")
    values[key] = value


def _explain(problem: Any) -> str:
    """A pydantic error as a sentence; for an unknown key, with the nearest known key."""
    # A tagged union puts the tag into the location: model.anchorrec.k is written model.k in the file.
    location = [str(part) for i, part in enumerate(problem["loc"]) if not (i == 1 and problem["loc"][0] == "model")]
    where = ".".join(location)
    if problem["type"] != "extra_forbidden":
        return sentence(problem, location)
    # A key that only another model has is no misspelling of itself.
    near = difflib.get_close_matches(location[-1], _known_keys() - {location[-1]}, n=1)
    return f"unknown key {where}" + (f" (did you mean {near[0]!r}?)" if near else "")


def _known_keys() -> set[str]:
    return {key for group in _below(FrozenSettings) for key in group.model_fields}


def _below(group: type[FrozenSettings]) -> Iterator[type[FrozenSettings]]:
    yield group
    for kind in group.__subclasses__():
        yield from _below(kind)
