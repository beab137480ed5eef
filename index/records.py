"""A registry's record of each bundle: the gate's report, who published it, whether it was withdrawn.

Stored as `records/<bundle id>.json`, because the bundle itself never changes. Records are informative, except for
`withdrawn`: replicas do not load a bundle that was rolled back automatically until a person publishes it again.
"""

from pydantic import AwareDatetime

from index.frozen_model import FrozenModel
from index.gate_report import GateReport

FOLDER = "records"


class PointerMove(FrozenModel):
    """A change of the pointer: when, by whom, and the reason where there is one."""

    at: AwareDatetime
    by: str
    why: str = ""


class GateResult(FrozenModel):
    """The gate's report on a bundle, and when it ran."""

    at: AwareDatetime
    report: GateReport


class BundleRecord(FrozenModel):
    """The record of one bundle; `withdrawn` is set until the bundle is published again."""

    gate: GateResult | None = None
    published: PointerMove | None = None
    withdrawn: PointerMove | None = None


def record_name(bundle_id: str) -> str:
    """The name of a bundle's record file in the registry."""
    return f"{FOLDER}/{bundle_id}.json"


def parse_record(data: bytes) -> BundleRecord:
    """The record; an empty one where it cannot be read, so that a damaged record does not block its bundle."""
    try:
        return BundleRecord.model_validate_json(data)
    except ValueError:
        return BundleRecord()
