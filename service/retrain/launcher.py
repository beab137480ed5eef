"""Who does the training: a process beside the service, a Kubernetes Job, or an outside system."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from index.registry import Registry
from service.errors import ServiceError
from service.retrain.job import Handle, Job

RESULT = "result.json"  # what `trainer retrain` writes last into its folder


class LauncherError(ServiceError):
    """The training could not be begun, for a reason that trying again will not mend."""

    status = 502
    code = "launcher_failed"


class LauncherUnavailableError(ServiceError):
    """Whoever does the training does not answer just now; asked again, it may."""

    status = 503
    code = "launcher_unavailable"


@dataclass(frozen=True)
class Task:
    """What is to be done for one job: every path that the trainer reads or writes."""

    job: Job
    data: Path
    events: Path  # a folder of Parquet files
    registry: Registry
    folder: Path  # of the job

    @property
    def out(self) -> Path:
        """Where the trainer works."""
        return self.folder / "out"

    @property
    def log(self) -> Path:
        """Where what it says is kept, if it runs beside us."""
        return self.folder / "log"

    @property
    def arguments(self) -> list[str]:
        """Of `python -m trainer`."""
        fixed = ["--events", self.events, "--registry", self.registry, "--out", self.out]
        copies = ["--copies", self.folder / "copies"] if self.registry.is_remote else []
        return ["retrain", str(self.data), *map(str, [*fixed, *copies]), *self.job.arguments]

    def result(self) -> dict[str, Any] | None:
        """What the trainer wrote when it was done."""
        try:
            found: dict[str, Any] = json.loads((self.out / RESULT).read_bytes())
        except FileNotFoundError:
            return None
        return found


@dataclass(frozen=True)
class Ended:
    """How a training ended: with a bundle, or with a reason why there is none."""

    bundle: str | None
    reason: str = ""


class Launcher(Protocol):
    """Begins, follows and ends trainings. A job's handle is all that it remembers across a restart."""

    name: str

    async def start(self, task: Task) -> Handle:
        """Begin; LauncherError, or LauncherUnavailableError. Called again for one job, it must not begin twice."""
        ...

    async def ended(self, task: Task, handle: Handle, told: Mapping[str, str]) -> Ended | None:
        """None while it runs; LauncherUnavailableError where that cannot be known now."""
        ...

    async def tail(self, task: Task, handle: Handle | None, lines: int) -> Sequence[str]:
        """The last lines of what the training said."""
        ...

    async def cancel(self, task: Task, handle: Handle) -> None:
        """End it; nothing of it is left running when this returns."""
        ...

    async def close(self) -> None:
        """Let go of connections; trainings go on."""
        ...


def made(task: Task, reason: str) -> Ended:
    """The bundle in the result that the trainer left, or else the reason."""
    result = task.result()
    return Ended(None, reason) if result is None else Ended(str(result["bundle"]))


def tail_of(file: Path, lines: int, *, longest: int = 256 * 1024) -> list[str]:
    """The last lines of a file, of its last `longest` bytes; none where there is no file."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - longest))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:] if lines else []
