"""Forgettings that are not done yet: a file for each, so that a process that was killed goes on with them."""

from collections.abc import Iterator
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from index.storage import locked, remove_leftovers, replace_file, sync

log = structlog.get_logger()


class Begun(BaseModel):
    """One forgetting: what is left to do, and of whom while that is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receipt: str
    at: float
    user_id: str = ""  # empty once only folders of trainings are left
    until: int | None = None  # position in the event log, once it is known
    trainings: tuple[str, ...] = ()  # that ran meanwhile: their folders go when they have ended


class Journal:
    """The folder of these files; each change is on disk when a method returns. Its methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, begun: Begun) -> None:
        """Note it; OSError where the disk refuses."""
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            sync(self._folder.parent)
        with locked(self._folder):
            replace_file(self._file(begun), begun.model_dump_json().encode())

    def remove(self, begun: Begun) -> None:
        """It is done."""
        self._file(begun).unlink(missing_ok=True)
        sync(self._folder)

    def pending(self) -> Iterator[Begun]:
        """All that are not done; a file of another shape is logged and stays."""
        if self._folder.is_dir():
            with locked(self._folder):  # no living writer has a temporary file in it
                remove_leftovers(self._folder)
        for file in sorted(self._folder.glob("*.json")):
            try:
                yield Begun.model_validate_json(file.read_bytes())
            except FileNotFoundError:  # another worker has done it
                continue
            except (OSError, ValidationError) as error:
                log.error("a forgetting that was begun cannot be read", file=file.name, error=type(error).__name__)

    def _file(self, begun: Begun) -> Path:
        return self._folder / f"{begun.receipt}.json"
