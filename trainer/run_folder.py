"""The folder of one training run: configuration, metrics per epoch, checkpoints, result, plot.

config.toml    the whole configuration, every default written out
run.json       which data set (path, fingerprint, labels where not the folder's own) it was trained on
metrics.jsonl  one line an epoch
last.pt        checkpoint that an interrupted run resumes from
best.pt        parameters of the best epoch
users.parquet  the test metrics of every user: what paired tests compare
result.json    written last: its presence means that the run is finished
curves.png     losses and validation metrics by epoch
tuning/        the search for its settings, where `fit` was given none (trainer/tune/study.py)
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, NotRequired, TypeVar
from zipfile import ZipFile

import polars as pl
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from typing_extensions import TypedDict

from index.errors import InputError
from index.reading import read_file, read_json, reason
from index.storage import TEMPORARY_PREFIX, atomic_writer, replace_file
from trainer.config import RunConfig, dump_config, load_config
from trainer.data import Dataset, Labels, load_dataset


class Origin(TypedDict):
    """run.json: the data set that a run was trained on."""

    data: str
    fingerprint: str
    labels: NotRequired[Labels]


T = TypeVar("T")


@dataclass
class TrainingState:
    """The state of the training loop between two epochs."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = -1
    best_score: float = float("-inf")
    waited: int = 0
    """Evaluations since the best one."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record an epoch, as in metrics.jsonl."""


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run."""

    best_epoch: int
    valid: dict[str, float]
    test: dict[str, float]
    n_parameters: int
    seconds_per_epoch: float
    """Of a model that is computed at once: all of it."""
    seconds: float | None = None
    """Of training in all, a resumed run's parts together: building the model and its epochs, without evaluation."""
    peak_gb: float | None = None
    """The most memory that the process (or its GPU) held while it trained; after a resume, since then."""
    test_low: dict[str, float] = field(default_factory=dict)
    test_high: dict[str, float] = field(default_factory=dict)
    """Bounds of the bootstrap interval of each test figure that is a mean over users."""
    served: dict[str, dict[str, float]] = field(default_factory=dict)
    """Accuracy of the served form by split, of a model that a bundle holds only approximately."""


TUNING = "tuning"
FIT_AGAIN = "fit again in an empty folder"
_RESULT, _PROGRESS = TypeAdapter(RunResult), TypeAdapter(TrainingState)
_ORIGIN, _EPOCH = TypeAdapter(Origin), TypeAdapter(dict[str, Any])


class RunFolder:
    """Reads and writes the files of one run; everything is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, config: RunConfig, dataset: Dataset) -> None:
        """Assign an empty folder to this run, or check that it already belongs to it.

        Raises:
            InputError: it holds a run of another configuration or of other data, and names the first difference.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "config.toml").exists():
            if any(file for file in self.path.iterdir() if not _begun(file)):
                raise InputError(f"{self.path} is not empty and not a run folder; choose an empty folder for the run")
            origin: dict[str, Any] = {"data": str(dataset.path.resolve()), "fingerprint": dataset.fingerprint}
            if dataset.prepared:
                origin["labels"] = dataset.labels.model_dump()
            replace_file(self.path / "run.json", json.dumps(origin, indent=1).encode())
            replace_file(self.path / "config.toml", dump_config(config).encode())
            return
        if self.config() != config:
            raise InputError(f"{self.path} holds a run of another configuration ({self._difference(config)})")
        if self.origin()["fingerprint"] != dataset.fingerprint:
            raise InputError(
                f"{self.path} holds a run on data {self.origin()['fingerprint'][:12]}, found {dataset.fingerprint[:12]}"
            )

    def config(self) -> RunConfig:
        """The configuration that the folder was made for."""
        if not (self.path / "config.toml").is_file():
            raise InputError(
                f"{self.path} is not a run folder: it has no config.toml (made by `python -m trainer fit`)"
            )
        return load_config(str(self.path / "config.toml"))

    def origin(self) -> Origin:
        """Path, fingerprint and labels of the data set."""
        return read_json(self.path / "run.json", _ORIGIN, FIT_AGAIN)

    def dataset(self) -> Dataset:
        """The data set that the run was trained on.

        Raises:
            InputError: it is missing or has changed.
        """
        origin = self.origin()
        dataset = load_dataset(Path(origin["data"])).with_labels(origin.get("labels", Labels()))
        if dataset.fingerprint != origin["fingerprint"]:
            raise InputError(
                f"{origin['data']} has changed since the run {self.path}: "
                f"found fingerprint {dataset.fingerprint[:12]}, expected {origin['fingerprint'][:12]}"
            )
        return dataset

    def result(self) -> RunResult | None:
        """The result of a finished run, or None."""
        file = self.path / "result.json"
        return read_json(file, _RESULT, "remove it, and `fit` measures again") if file.exists() else None

    def history(self) -> list[dict[str, Any]]:
        """One record an epoch, as in metrics.jsonl; empty where nothing is trained."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return []
        return read_file(file, lambda found: [_EPOCH.validate_json(line) for line in found], FIT_AGAIN)

    def write_result(self, result: RunResult) -> None:
        """Mark the run finished."""
        replace_file(self.path / "result.json", json.dumps(asdict(result), indent=1).encode())

    def write_users(self, users: pl.DataFrame) -> None:
        """Save the test metrics of every user; called before `write_result`, so that a finished run has them."""
        buffer = BytesIO()
        users.write_parquet(buffer)
        replace_file(self.path / "users.parquet", buffer.getvalue())

    def users(self) -> pl.DataFrame:
        """user_row and the test metrics of every user with a held-out item, null where a user has no value."""
        file = self.path / "users.parquet"
        if not file.is_file():
            raise InputError(f"{self.path} has no users.parquet: it was finished without measuring the test split")
        return read_file(file, pl.read_parquet, FIT_AGAIN)

    def write_history(self, progress: TrainingState) -> None:
        """Rewrite metrics.jsonl: after a resume it must not keep lines of the epochs that are run again."""
        lines = "".join(json.dumps(record) + "\n" for record in progress.history)
        replace_file(self.path / "metrics.jsonl", lines.encode())

    def save_best(self, model: nn.Module) -> None:
        """Save the parameters of the best epoch so far."""
        _save({"model": model.state_dict()}, self.path / "best.pt")

    def load_best(self, model: nn.Module) -> None:
        """Load the best epoch's parameters into the model."""
        _restore(self.path / "best.pt", lambda state: model.load_state_dict(state["model"]))

    def best_state(self) -> dict[str, Tensor]:
        """The best epoch's parameters by name."""
        state: dict[str, Tensor] = _load(self.path / "best.pt")["model"]
        return state

    def save_checkpoint(self, model: nn.Module, optimiser: torch.optim.Optimizer, progress: TrainingState) -> None:
        """Save everything that the next epoch depends on."""
        state = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "progress": asdict(progress),
        }
        _save(state, self.path / "last.pt")

    def load_checkpoint(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> TrainingState:
        """Restore the last checkpoint; without one, return the initial state."""
        if not (self.path / "last.pt").exists():
            return TrainingState()

        def restore(state: dict[str, Any]) -> TrainingState:
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            return _PROGRESS.validate_python(state["progress"])

        return _restore(self.path / "last.pt", restore)

    def save_steps(self, steps: Mapping[str, Tensor], seconds: float = 0.0) -> None:
        """Save what a model that is computed at once resumes from, and the time that it took so far."""
        _save({"model": dict(steps), "seconds": seconds}, self.path / "last.pt")

    def load_steps(self) -> dict[str, Tensor]:
        """The saved steps; empty where there are none."""
        return dict(_load(self.path / "last.pt")["model"]) if (self.path / "last.pt").exists() else {}

    def seconds_of_steps(self) -> float:
        """The time that the saved steps took; 0 where there are none."""
        file = self.path / "last.pt"
        return _restore(file, lambda state: float(state.get("seconds", 0.0))) if file.exists() else 0.0

    def _difference(self, config: RunConfig) -> str:
        mine, theirs = _flat(self.config().model_dump()), _flat(config.model_dump())
        keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        return f"{keys[0]} is {mine.get(keys[0])!r} there, {theirs.get(keys[0])!r} here"


def _begun(file: Path) -> bool:
    """Whether the file may be there before config.toml: of a run that was killed, or the search for its settings."""
    return file.name in ("run.json", TUNING) or file.name.startswith(TEMPORARY_PREFIX)


def _save(state: Mapping[str, Any], path: Path) -> None:
    with atomic_writer(path) as file:
        torch.save(state, file)


def _restore(path: Path, restore: Callable[[dict[str, Any]], T]) -> T:
    """What `restore` makes of a checkpoint; InputError where it is another model's."""
    state = _load(path)
    try:
        return restore(state)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} holds no state of this run's model: {reason(error)}; {FIT_AGAIN}") from error


def _load(path: Path) -> dict[str, Any]:
    """A checkpoint; InputError where it is damaged."""
    return read_file(path, _parse_state, FIT_AGAIN)


def _parse_state(file: BufferedReader) -> dict[str, Any]:
    with ZipFile(file) as archive:  # torch itself compares no sums: a flipped bit would be another parameter
        if damaged := archive.testzip():
            raise ValueError(f"the sum of {damaged} is wrong")
    file.seek(0)
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state.get("model"), dict):
        raise ValueError("it holds no parameters")
    return state


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        flat |= nested
    return flat


def parameters_of(model: nn.Module) -> list[Tensor]:
    """Trainable parameters."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
