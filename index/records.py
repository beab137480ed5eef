"""What is known of a bundle beside the bundle, which never changes: the gate's report, who published it, its fall.

`records/<bundle id>.json` in the registry. A record is information; the one thing that acts on it is the mark of a
bundle that was rolled back by itself: nobody takes it up again until somebody publishes it by hand.
"""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from index.storage import replace_file
from index.verdict import GateReport

FOLDER = "records"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Move(_Record):
    """Somebody moved the pointer: when, who, and why where there is more to say."""

    at: AwareDatetime
    by: str
    why: str = ""


class Gated(_Record):
    """What the gate found, and when."""

    at: AwareDatetime
    report: GateReport


class Record(_Record):
    """All of one bundle; `withdrawn` stands until the bundle is published again."""

    gate: Gated | None = None
    published: Move | None = None
    withdrawn: Move | None = None


def read_record(registry: Path, bundle_id: str) -> Record:
    """The record; an empty one where there is none, or none that can be read: a record must not bar a bundle."""
    try:
        return Record.model_validate_json(_path(registry, bundle_id).read_bytes())
    except (OSError, ValidationError):
        return Record()


def write_record(registry: Path, bundle_id: str, record: Record) -> None:
    """Replace the record in one step; OSError where the disk does not take it. The caller holds the registry's lock."""
    path = _path(registry, bundle_id)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, record.model_dump_json(indent=2).encode())


def remove_record(registry: Path, bundle_id: str) -> None:
    """Forget it with its bundle."""
    _path(registry, bundle_id).unlink(missing_ok=True)


def _path(registry: Path, bundle_id: str) -> Path:
    return registry / FOLDER / f"{bundle_id}.json"
