"""What goes in and out over HTTP. Queries are validated by these models; answers are only documented by them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from index.gate_report import GateCheck, GateReport
from service.retrain.job import Stage, State, Trigger

By = Literal["fused", "id", "text", "image", "multimodal"]  # spaces that bundles may have


class Query(BaseModel):
    """A query string; an unknown parameter is an error, as a misspelt one would silently do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ListQuery(Query):
    """How many items."""

    k: int


class Reply(BaseModel):
    """What every answer carries; put in front of it where it is sent."""

    request_id: str


class Answer(Reply):
    """What every answer out of a bundle carries."""

    bundle: str = Field(description="the bundle that answered")
    source: str = Field(description="what answered: user, fold_in, session, popular; for /similar the space")


class Item(BaseModel):
    """An item as a person sees it."""

    item_id: str
    title: str
    category: str
    image: str | None


class RankedItem(Item):
    """An item in a list."""

    rank: int = Field(description="place in the whole list; the first of a page with offset 10 has rank 11")
    score: float


class PastItem(BaseModel):
    """An item of the user's past and what it adds to a score."""

    item_id: str
    title: str
    contribution: float
    weight: float | None = Field(None, description="what it weighs in the profile, where not 1; negative: disliked")
    rank_without: int | None = Field(None, description="the rank by score without this past item, if asked for")


class Explanation(BaseModel):
    """Why an item was given: parts + rules sum to the score; so do past_items + other_past_items + user_own + rules."""

    sentence: str
    parts: dict[str, float] | None = None
    past_items: list[PastItem] | None = None
    other_past_items: float | None = None
    user_own: float | None = None
    rules: float | None = Field(None, description="what boosts add, where any rule boosts")


class RecommendedItem(RankedItem):
    """An item recommended to a user."""

    explanation: Explanation | None = None
    pinned: bool | None = Field(None, description="true where a rule put the item in its place")


class Listed(BaseModel):
    """How much of what was asked for could be given."""

    missing: int = Field(description="how many items fewer than k came, as no more are left under what was asked")


class RecommendAnswer(Listed, Answer):
    """Answer of GET /recommend."""

    user_id: str
    items: list[RecommendedItem]


class SessionAnswer(Listed, Answer):
    """Answer of POST /recommend."""

    user_id: str | None
    unknown_items: list[str] = Field(description="ids of the session and its rules that this bundle lacks")
    items: list[RecommendedItem]


class BatchEntry(BaseModel):
    """The answer for one user of a batch, or why there is none."""

    user_id: str
    source: str | None = None
    missing: int | None = None
    items: list[RecommendedItem] | None = None
    error: str | None = None
    detail: str | None = None


class BatchAnswer(Answer):
    """Answer of POST /recommend/batch, in the order of the users asked for."""

    unknown_items: list[str] = Field(description="ids of the rules that this bundle lacks")
    answers: list[BatchEntry]


class Likeness(BaseModel):
    """How alike two items are."""

    cosines: dict[str, float]
    users_in_common: int


class SimilarItem(RankedItem):
    """An item near another; its score is the cosine in the space asked for."""

    explanation: Likeness | None = None


class SimilarAnswer(Listed, Answer):
    """Answer of /similar."""

    item_id: str
    by: str
    reason: str | None = Field(None, description="why nothing came, where the space knows nothing of the item")
    items: list[SimilarItem]


class PopularItem(RankedItem):
    """A popular item; its score is the time-decayed count where the bundle has one."""

    users: int = Field(description="how many users had it in training")


class PopularAnswer(Answer):
    """Answer of /popular."""

    missing: int = Field(description="by how many the list is shorter than k, as no more items are left")
    items: list[PopularItem]


class TrendingAnswer(PopularAnswer):
    """Answer of /trending. A score is the decayed count of events; 0: a popular item where events name no more."""

    half_life_hours: float


class HiddenQuery(ListQuery):
    """Which part of the list."""

    offset: int = Field(0, ge=0)


class HiddenAnswer(Answer):
    """Answer of PUT and DELETE /items/{item_id}/hidden: in effect here, and within moments on every replica."""

    item_id: str
    hidden: bool


class HiddenList(Answer):
    """Answer of /hidden."""

    total: int
    item_ids: list[str] = Field(description="ascending; some may be of other bundles")


class UserAnswer(Answer):
    """Answer of /users: what is known, and how fresh it is."""

    user_id: str
    trained: bool = Field(description="whether this bundle was trained with the user")
    in_memory: bool = Field(description="whether the whole profile was kept in this process")
    seen: int = Field(description="items in the past that the vector is made of")
    excluded: int = Field(description="disliked items, which are never shown")
    events: int = Field(description="positive and dislike events that the log holds, the latest only")
    events_since_training: int = Field(description="those of them younger than the bundle")
    last_event_age_s: float | None
    bundle_age_s: float


class ItemAnswer(Answer):
    """Answer of /items."""

    item: Annotated[dict[str, Any], Field(description="item_id, title, category, image, attributes")]
    users: int
    part_norms: dict[str, float] = Field(description="length of each part of the item's embedding")
    hidden: bool = Field(description="whether the item is hidden from every list")


class EventsAnswer(Answer):
    """Answer of POST /events: all of it is durable."""

    accepted: int = Field(description="events that were new")
    duplicates: int = Field(description="events whose event_id the log had already")
    unknown_items: list[str] = Field(description="ids that this bundle lacks; their events are kept for the next one")


class Figures(BaseModel):
    """What became of the answers of one bundle, or of all."""

    answers: int = Field(description="request ids of which an impression came")
    items_shown: int
    clicks: int = Field(description="click events that name one of these answers")
    click_through_rate: float | None = Field(description="clicks by items shown; null where nothing was shown")
    hit_rate: float | None = Field(description="share of answers with a click at least")
    events: dict[str, int] = Field(description="events by kind, joined to an answer or not")


class BundleFigures(Figures):
    """The same of one bundle."""

    bundle: str | None = Field(description="null: events that name none")


class QualityAnswer(Answer):
    """Answer of /quality."""

    since: float = Field(description="start of the window; a multiple of five minutes")
    until: float
    overall: Figures
    bundles: list[BundleFigures]


class Alive(Reply):
    """Answer of /healthz."""

    status: str


class Ready(Answer):
    """Answer of /readyz."""

    status: str
    model: str
    fold_in: str = Field(description="users with events since training get the model's very vector: exact; or nearly")
    redis: str = Field(description="off, or the state of the circuit: closed, open, half_open")
    index: dict[str, Any]
    spaces: list[str]
    files: str = Field(description="of the bundle on disk: verified, not verified (yet), or what damage was found")


class Refusal(BaseModel):
    """The one shape of an error."""

    error: str
    detail: str
    request_id: str


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


class ShownJob(BaseModel):
    """One retraining."""

    id: str
    state: State
    trigger: Trigger
    asked_by: str
    created_at: float = Field(description="unix seconds, as all times here")
    events_position: int = Field(description="how far into the event log the training reads")
    launcher: str
    arguments: tuple[str, ...]
    stages: tuple[Stage, ...]
    bundle: str | None
    gate: GateReport | None
    reason: str = Field(description="why it was refused, failed or cancelled")


class JobAnswer(Reply):
    """Answer of POST and DELETE."""

    job: ShownJob


class FullJobAnswer(JobAnswer):
    """Answer of GET /retrain/{job}."""

    log: list[str]


class JobsAnswer(Reply):
    """Answer of GET /retrain."""

    jobs: list[ShownJob]
