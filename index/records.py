"""What is known of a bundle beside the bundle, which never changes: the gate's report, who published it, its fall.

`records/<bundle id>.json` in the registry. A record is information; the one thing that acts on it is the mark of a
bundle that was rolled back by itself: nobody takes it up again until somebody publishes it by hand.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from index.gate_report import GateReport

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


def name_of(bundle_id: str) -> str:
    """The file of a bundle's record, by its name in the registry."""
    return f"{FOLDER}/{bundle_id}.json"


def parsed(data: bytes) -> Record:
    """The record; an empty one where it cannot be read: a record must not bar a bundle."""
    try:
        return Record.model_validate_json(data)
    except ValidationError:
        return Record()
