"""What is told of bundles over HTTP."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from index.gate_report import GateCheck
from service.http.responses import Answer, Refusal


class Gate(BaseModel):
    """What the gate said of a bundle."""

    passed: bool
    bundle_id: str
    checks: list[GateCheck]


class GateRefusal(Refusal):
    """Why nothing was published."""

    gate: Gate | None = Field(None, description="where it was the gate that refused")


class PublishAnswer(Answer):
    """Answer of a publish or a rollback, given once this process serves what is published."""

    published: str = Field(description="the bundle that the registry names")
    swapped: bool = Field(description="whether this process took it up by this call; false: it served already")
    forced: bool = Field(description="whether the gate had refused it")
    gate: Gate | None


class MoveInfo(BaseModel):
    """Somebody let a bundle serve, or something took it away."""

    at: datetime
    by: str
    why: str


class BundleInfo(BaseModel):
    """One bundle of the registry; all but the first three are null where its manifest cannot be read."""

    bundle_id: str
    role: str = Field(description="serves, published (but another serves here), rollback, or empty")
    unreadable: str | None = Field(description="why its manifest cannot be read")
    model: str | None
    created_at: datetime | None
    metrics: dict[str, dict[str, float]] | None
    n_users: int | None
    n_items: int | None
    n_interactions: int | None
    index: dict[str, Any] | None
    bytes: int | None = Field(description="of all its files")
    gate: Gate | None = Field(description="the gate's last report")
    gated_at: datetime | None
    published: MoveInfo | None = Field(description="who published it last, and when")
    withdrawn: MoveInfo | None = Field(description="why it was rolled back by itself; it waits to be published by hand")


class TroubleInfo(BaseModel):
    """A swap that failed."""

    bundle: str
    at: datetime
    error: str


class BundlesAnswer(Answer):
    """Answer of GET /bundles."""

    published: str | None = Field(description="the bundle that the registry names")
    history: list[str] = Field(description="bundles published before, oldest first; a rollback goes to the last")
    verified: bool = Field(description="whether the sums of the bundle that serves were checked")
    damage: list[str] = Field(description="what is wrong with its files on disk")
    trouble: TroubleInfo | None = Field(description="the last swap that failed, until one goes well")
    bundles: list[BundleInfo] = Field(description="newest first")
