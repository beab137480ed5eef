"""The interface of what runs a training: a process beside the service, a Kubernetes Job, or an outside system."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from index.errors import InputError
from index.registry import Registry
from service.errors import ServiceError
from service.retrain.job import Handle, Job

RESULT_FILE = "result.json"  # what `trainer retrain` writes last into its folder


class LauncherError(ServiceError):
    """The training cannot be started, and a retry would not help."""

    status = 502
    code = "launcher_failed"


class LauncherUnavailableError(ServiceError):
    """The launcher's process, API or webhook does not respond; a retry may help."""

    status = 503
    code = "launcher_unavailable"


@dataclass(frozen=True)
class TrainingTask:
    """One job with every path that its training reads or writes."""

    job: Job
    data: Path
    events: Path  # a folder of Parquet files
    registry: Registry
    folder: Path  # of the job

    @property
    def out(self) -> Path:
        """The trainer's working folder."""
        return self.folder / "out"

    @property
    def forget(self) -> Path:
        """The people to leave out (index/forgotten.py); there is no file where there are none."""
        return self.folder / "forget.json"

    @property
    def items(self) -> Path:
        """The stored items, as `export-items` writes them; there is no such file where none was ever stored."""
        return self.folder / "items.parquet"

    @property
    def log(self) -> Path:
        """The trainer's output, where it runs beside the service."""
        return self.folder / "log"

    @property
    def arguments(self) -> list[str]:
        """The arguments of `python -m trainer`."""
        fixed = ["--events", self.events, "--registry", self.registry, "--out", self.out]
        copies = ["--copies", self.folder / "copies"] if self.registry.is_remote else []
        forget = ["--forget", self.forget] if self.forget.is_file() else []
        items = ["--items", self.items] if self.items.is_file() else []
        return ["retrain", str(self.data), *map(str, [*fixed, *items, *copies, *forget]), *self.job.arguments]

    def read_result(self) -> dict[str, Any] | None:
        """The result file of a finished training; None where there is no file yet. InputError where it is none."""
        try:
            result: dict[str, Any] = json.loads((self.out / RESULT_FILE).read_bytes())
            str(result["bundle"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{RESULT_FILE}: expected a JSON object with the field `bundle`: {error!r:.200}") from None
        return result


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training ended: with a bundle, or with a reason why there is none."""

    bundle: str | None
    reason: str = ""


class Launcher(Protocol):
    """Starts, follows and ends trainings. It keeps nothing across a restart but the job's handle."""

    name: str

    async def start(self, task: TrainingTask) -> Handle:
        """Start the training; a second call for the same job must not start it twice.

        LauncherError or LauncherUnavailableError where it cannot.
        """
        ...

    async def find(self, task: TrainingTask) -> Handle | None:
        """The handle of a training of this job that a service may have started and died before it stored the handle.

        None where there is none; then none begins later either.
        """
        ...

    async def poll(self, task: TrainingTask, handle: Handle, messages: Mapping[str, str]) -> TrainingOutcome | None:
        """The outcome; None while the training runs. LauncherUnavailableError where that cannot be found out now."""
        ...

    async def log_tail(self, task: TrainingTask, handle: Handle | None, lines: int) -> Sequence[str]:
        """The last lines of the training's log."""
        ...

    async def cancel(self, task: TrainingTask, handle: Handle) -> None:
        """End the training."""
        ...

    async def close(self) -> None:
        """Close connections; trainings go on."""
        ...


def read_outcome(task: TrainingTask, reason: str) -> TrainingOutcome:
    """The outcome of a training that has ended: the bundle in its result file, or else the reason."""
    result = task.read_result()
    return TrainingOutcome(None, reason) if result is None else TrainingOutcome(str(result["bundle"]))


def last_lines(file: Path, lines: int, *, max_bytes: int = 256 * 1024) -> list[str]:
    """The last lines of a file, within its last `max_bytes`; none where there is no file."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - max_bytes))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines else []
