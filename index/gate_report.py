"""What the gate is told, limits, and what it tells: a report for people and for programs."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.errors import InputError

TOLERANCE = 1e-5  # relative error of the two identities that every bundle keeps (laws.py)
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateLimits(_Record):
    """How bad is too bad. Everything with `current` in its text is asked only where a bundle serves already."""

    law_tolerance: Positive = Field(default=TOLERANCE, description="relative error of the bundle's two identities")
    index_recall_at: Count = Field(default=20, description="length of the lists that the index is measured by")
    index_recall_floor: Share = Field(default=0.95, description="least recall of the index against exact search")
    metrics: tuple[str, ...] = Field(
        default=("recall@20", "ndcg@20"), description="validation metrics that are compared"
    )
    metric_margin: Annotated[float, Field(ge=0)] = Field(
        default=0.05, description="how far a metric may fall below the current bundle's, relative"
    )
    sample_users: Count = Field(
        default=256, description="users whose lists are made; those given for replay come first"
    )
    list_length: Count = Field(default=20, description="length of those lists")
    search_p99_ms: Positive = Field(
        default=100.0,
        description="most milliseconds that 99 of 100 searches may take; of one that takes longer, the best of three",
    )
    coverage_floor: Share = Field(
        default=0.0, description="least share of items that the lists show, of what they could show"
    )
    coverage_kept: Share = Field(default=0.5, description="least part of the current bundle's share that is kept")
    overlap_floor: Share = Field(
        default=0.05, description="least mean overlap of a user's list with the current bundle's"
    )
    overlap_ceiling: Share = Field(default=1.0, description="most of the same; 1: the lists may stay as they are")
    items_lost: Share = Field(
        default=0.2, description="most of the current bundle's number of items that may be missing"
    )
    users_lost: Share = Field(default=0.2, description="the same of users")


DEFAULT_LIMITS = GateLimits()


class GateCheck(_Record):
    """One named question to the bundle and its answer."""

    name: str
    passed: bool
    found: str
    required: str


class GateReport(_Record):
    """Every check in order; str() is a table for people."""

    bundle_id: str
    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the bundle may be published."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[GateCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED in {len(self.failures)} of {len(self.checks)} checks"
        width = max(len(check.name) for check in self.checks)
        lines = (
            f"  {'ok  ' if check.passed else 'FAIL'}  {check.name:{width}}  {check.found}  (required: {check.required})"
            for check in self.checks
        )
        return "\n".join([f"gate for {self.bundle_id}: {verdict}", *lines])


def limits_from(given: Sequence[str]) -> GateLimits:
    """Limits out of `name=value` words, the defaults for the rest; metrics are separated by commas.

    InputError names the limit that is unknown or wrong, and what there is.
    """
    found: dict[str, object] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or name not in GateLimits.model_fields:
            raise InputError(f"--limit {word!r}: expected NAME=VALUE with one of {', '.join(GateLimits.model_fields)}")
        found[name] = tuple(filter(None, value.split(","))) if name == "metrics" else value
    try:
        return GateLimits.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--limit {first['loc'][0]} is {first['input']!r}: {first['msg']}") from error


def as_words(limits: GateLimits) -> list[str]:
    """The inverse of `limits_from`: every limit that is not the default."""
    changed = limits.model_dump(exclude_defaults=True)
    return [f"{name}={','.join(value) if name == 'metrics' else value}" for name, value in changed.items()]


def limits_table() -> str:
    """Every limit, its default and its meaning, as a Markdown table; the page about the bundle holds the same."""
    rows = ["| limit | default | meaning |", "|---|---|---|"]
    for name, field in GateLimits.model_fields.items():
        value = ",".join(field.default) if name == "metrics" else field.default
        rows.append(f"| `{name}` | `{value}` | {field.description} |")
    return "\n".join(rows)
