"""The gate's input, its limits, and its output: a report for people and for programs."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from index.errors import InputError
from index.frozen_model import FrozenModel
from index.validation import explained

TOLERANCE = 1e-5  # relative error of the two identities that every bundle satisfies (invariants.py)
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class GateLimits(FrozenModel):
    """Thresholds of the gate's checks. Those that mention the current bundle apply only where a bundle serves."""

    law_tolerance: Positive = Field(default=TOLERANCE, description="relative error of the bundle's two identities")
    index_recall_at: Count = Field(default=20, description="length of the lists that the index is measured by")
    index_recall_floor: Fraction = Field(default=0.95, description="least recall of the index against exact search")
    metrics: tuple[str, ...] = Field(
        default=("recall@20", "ndcg@20"), description="validation metrics that are compared"
    )
    metric_margin: Annotated[float, Field(ge=0)] = Field(
        default=0.05, description="how far a metric may fall below the current bundle's, relative"
    )
    sample_users: Count = Field(
        default=256, description="users whose recommendations are computed; those given for replay come first"
    )
    list_length: Count = Field(default=20, description="number of recommendations per user")
    search_p99_ms: Positive = Field(
        default=100.0,
        description="most milliseconds that 99 of 100 searches may take; a slower search has three tries",
    )
    coverage_floor: Fraction = Field(
        default=0.0, description="least share of the catalogue that the recommendations cover, of what they could cover"
    )
    coverage_kept: Fraction = Field(default=0.5, description="least coverage relative to the current bundle's")
    overlap_floor: Fraction = Field(
        default=0.05, description="least mean overlap of a user's list with the current bundle's"
    )
    overlap_ceiling: Fraction = Field(default=1.0, description="most mean overlap; 1 allows unchanged lists")
    items_lost: Fraction = Field(
        default=0.2, description="most of the current bundle's number of items that may be missing"
    )
    users_lost: Fraction = Field(
        default=0.2, description="most of the current bundle's number of users that may be missing"
    )


DEFAULT_LIMITS = GateLimits()


class GateCheck(FrozenModel):
    """One check of the bundle: what was found and what is required."""

    name: str
    passed: bool
    found: str
    required: str


class GateReport(FrozenModel):
    """All checks in order; str() formats them as a table for people."""

    bundle_id: str
    checks: tuple[GateCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, so that the bundle may be published."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[GateCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        outcome = "passed" if self.passed else f"FAILED in {len(self.failures)} of {len(self.checks)} checks"
        width = max(len(check.name) for check in self.checks)
        lines = (
            f"  {'ok  ' if check.passed else 'FAIL'}  {check.name:{width}}  {check.found}  (required: {check.required})"
            for check in self.checks
        )
        return "\n".join([f"gate for {self.bundle_id}: {outcome}", *lines])


def parse_limits(given: Sequence[str]) -> GateLimits:
    """Limits from `name=value` arguments, defaults for the rest; metrics are separated by commas.

    InputError names the limit that is unknown or invalid, and lists the known ones.
    """
    found: dict[str, object] = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or name not in GateLimits.model_fields:
            raise InputError(
                f"--limit {argument!r}: expected NAME=VALUE with one of {', '.join(GateLimits.model_fields)}"
            )
        found[name] = tuple(filter(None, value.split(","))) if name == "metrics" else value
    try:
        return GateLimits.model_validate(found)
    except ValidationError as error:
        raise InputError(f"--limit {explained(error)}; docs/bundle.md has every limit") from error


def limits_as_arguments(limits: GateLimits) -> list[str]:
    """`name=value` arguments of every limit that differs from its default; the inverse of `parse_limits`."""
    changed = limits.model_dump(exclude_defaults=True)
    return [f"{name}={','.join(value) if name == 'metrics' else value}" for name, value in changed.items()]


def limits_table() -> str:
    """All limits with default and meaning as a Markdown table, which docs/bundle.md must contain."""
    rows = ["| limit | default | meaning |", "|---|---|---|"]
    for name, field in GateLimits.model_fields.items():
        value = ",".join(field.default) if name == "metrics" else field.default
        rows.append(f"| `{name}` | `{value}` | {field.description} |")
    return "\n".join(rows)
