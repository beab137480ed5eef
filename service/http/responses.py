"""Models of the JSON responses, for the OpenAPI document and the client; the service validates none of its own."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from index.attribute_types import AttributeType
from index.gate_report import GateCheck, GateReport
from service.retrain.job import Stage, State, Trigger

By = Literal["fused", "id", "text", "image", "multimodal"]  # spaces that bundles may have


class Reply(BaseModel):
    """The field that every response has."""

    request_id: str


class Answer(Reply):
    """The fields of every response made from a bundle."""

    bundle: str = Field(description="the bundle that answered")
    source: str = Field(
        description="what the response was made from: user, fold_in, session, popular; for /similar the space"
    )


class ArmFields(BaseModel):
    """The arm that answered, where an experiment runs and the request names a user or forces an arm."""

    experiment: str | None = None
    arm: str | None = Field(None, description="the control's name too where the user's own arm cannot serve")


class Item(BaseModel):
    """An item's metadata: title, category and image, or what the request's `fields` name; the rest is left out."""

    item_id: str
    title: str = ""
    category: str = Field("", description="the first of its categories")
    image: str | None = Field(None, description="URL of its picture, or the reference that was given (RECO_IMAGES)")
    categories: list[str] | None = Field(None, description="all of its categories, where `fields` names them")
    attributes: dict[str, Any] | None = Field(
        None, description="the attributes that `fields` names, or all; one that the item lacks is left out"
    )


class RankedItem(Item):
    """An item in a list."""

    rank: int = Field(description="position in the whole list; the first item of a page with offset 10 has rank 11")
    score: float


class PastItem(BaseModel):
    """A past item of the user and its contribution to a score."""

    item_id: str
    title: str
    contribution: float
    weight: float | None = Field(None, description="its weight in the profile, where not 1; negative: disliked")
    rank_without: int | None = Field(
        None, description="the rank by score without this past item, with counterfactual=true"
    )


class Explanation(BaseModel):
    """Why an item is recommended; parts + rules = past_items + other_past_items + user_own + rules = the score."""

    sentence: str
    parts: dict[str, float] | None = None
    past_items: list[PastItem] | None = None
    other_past_items: float | None = None
    user_own: float | None = None
    rules: float | None = Field(None, description="the sum of the boosts, where a rule boosts the item")


class RecommendedItem(RankedItem):
    """An item recommended to a user."""

    explanation: Explanation | None = None
    pinned: bool | None = Field(None, description="true where a rule fixed the item's rank")
    exploration: bool | None = Field(None, description="true where the item is shown to learn about it")


class WarnedAnswer(Answer):
    """A response to a request that may name what no item has."""

    warnings: list[str] = Field([], description="what in the request had no effect, such as names that no item has")


class ListAnswer(WarnedAnswer):
    """A response with one list of items, which may have fewer than k."""

    missing: int = Field(description="how many items fewer than k the list has, as no more match the request")


class RecommendAnswer(ListAnswer, ArmFields):
    """Response of GET /recommend."""

    user_id: str
    items: list[RecommendedItem]


class SessionAnswer(ListAnswer, ArmFields):
    """Response of POST /recommend."""

    user_id: str | None
    unknown_items: list[str] = Field(description="ids of the session and its rules that this bundle lacks")
    items: list[RecommendedItem]


class RankAnswer(SessionAnswer):
    """Response of POST /rank: the candidates in order, without those that may not be shown."""

    unknown_items: list[str] = Field(description="ids of the candidates, the session and its rules that are unknown")


class BatchEntry(ArmFields):
    """The list of one user of a batch, or the error in its place."""

    user_id: str
    bundle: str | None = Field(None, description="the bundle of the user's arm, where an experiment runs")
    source: str | None = None
    missing: int | None = None
    items: list[RecommendedItem] | None = None
    error: str | None = None
    detail: str | None = None


class BatchAnswer(WarnedAnswer, ArmFields):
    """Response of POST /recommend/batch, in the order of the requested users.

    While an experiment runs, the entries name their bundles and arms, and `bundle` is the published one; with
    `force_arm` one bundle and arm answer all.
    """

    unknown_items: list[str] = Field(description="ids of the rules that a bundle which answered lacks")
    answers: list[BatchEntry]


class Likeness(BaseModel):
    """How similar two items are."""

    cosines: dict[str, float]
    users_in_common: int


class SimilarItem(RankedItem):
    """An item similar to another; its score is the cosine in the requested space."""

    explanation: Likeness | None = None


class SimilarAnswer(ListAnswer, ArmFields):
    """Response of /similar."""

    item_id: str
    by: str
    reason: str | None = Field(None, description="why the list is empty, where the item has no vector in the space")
    items: list[SimilarItem]


class MapGroup(BaseModel):
    """A category or a cluster."""

    name: str
    items: int = Field(description="on the whole map, without hidden ones")


class ItemMap(BaseModel):
    """Places of items, in columns of one length: those that are near each other have similar embeddings."""

    by: Literal["category", "cluster"] = Field(description="what the groups are")
    method: str = Field(description="how the trainer placed the items")
    total: int = Field(description="items on the whole map, without hidden ones")
    groups: list[MapGroup] = Field(description="the largest first, at most 50")
    item_ids: list[str] = Field(
        description="at most k, those that stay longest when thinned first, then those asked for"
    )
    x: list[float] = Field(description="from 0 to 1")
    y: list[float] = Field(description="from 0 to 1")
    group: list[int] = Field(description="the place of the item's group in `groups`; -1: a smaller one, or none")
    unplaced: list[str] = Field(description="of the items asked for those without a place: unknown, hidden or new")


class MapAnswer(Answer):
    """Response of GET /map."""

    map: ItemMap


class PopularItem(RankedItem):
    """A popular item; its score is the time-decayed count of interactions where the bundle has one."""

    users: int = Field(description="how many users interacted with it in the training data")


class PopularAnswer(WarnedAnswer):
    """Response of /popular."""

    missing: int = Field(description="how many items fewer than k the list has, as no more match")
    items: list[PopularItem]


class TrendingAnswer(PopularAnswer):
    """Response of /trending. A score is the decayed count of events; popular items that fill the list have 0."""

    half_life_hours: float


class HiddenAnswer(Answer):
    """Response of PUT and DELETE /items/{item_id}/hidden: in effect here now, and on every replica soon after."""

    item_id: str
    hidden: bool


class HiddenList(Answer):
    """Response of /hidden."""

    total: int
    item_ids: list[str] = Field(description="ascending; the bundle may lack some of them")


class UserAnswer(Answer, ArmFields):
    """Response of /users: what is known of the user, and how fresh it is."""

    user_id: str
    trained: bool = Field(description="whether this bundle was trained with the user")
    in_memory: bool = Field(description="whether the profile was cached in this process")
    seen: int = Field(description="past items that the user's vector is made from")
    excluded: int = Field(description="disliked items, which are never shown")
    events: int = Field(description="the user's latest positive and dislike events in the log")
    events_since_training: int = Field(description="how many of them are newer than the bundle")
    last_event_age_s: float | None
    bundle_age_s: float


class ListedUser(BaseModel):
    """A user whom training knew."""

    user_id: str
    items: int = Field(description="how many items the user had in training")


class UsersAnswer(Answer):
    """Response of GET /users: users of the bundle, in its order."""

    users: list[ListedUser]
    next: str | None = Field(
        description="`after` of the next page, which may have users even where this one has fewer than k; null: the end"
    )


class Removed(BaseModel):
    """How much of a person was removed."""

    events: int = Field(description="of the event log")
    answers: int = Field(description="request ids with what was shown, clicked and bought; the sums of /quality stay")
    archived_events: int = Field(description="of the archive that retraining reads")
    archive_files: int = Field(description="its files that were rewritten")
    training_folders: int = Field(description="folders of ended trainings, each with a copy of the data")
    cached_vectors: int = Field(description="vectors in Redis, of all bundles")


class Pending(BaseModel):
    """What still holds the person."""

    bundles: list[str] = Field(description="bundles of the registry that were trained before; none uses the vector")
    trainings: list[str] = Field(description="trainings that run now; their folders are removed when they end")


class ForgottenAnswer(Answer):
    """Response of DELETE /users: the receipt."""

    user_id: str
    receipt: str
    forgotten_at: float
    removed: Removed
    pending: Pending


class ExportedEvent(BaseModel):
    """One event as it is stored."""

    position: int
    event_id: str
    user_id: str
    item_id: str
    kind: str
    value: float
    quantity: float | None
    portion: float | None
    timestamp: float
    request_id: str | None
    bundle: str | None
    arm: str | None = Field(None, description="of an experiment, as experiment/phase/arm")
    items: list[str]


class TrainedData(BaseModel):
    """What the bundle that serves holds of a person."""

    bundle: str
    items: list[str]
    embedding: list[float]


class CachedData(BaseModel):
    """What is cached of a person."""

    profile: bool = Field(description="whether this process has a profile in memory")
    vectors: list[str] | None = Field(description="bundles with a vector in Redis; null: it does not respond")


class PersonalDataAnswer(Answer):
    """Response of /users/{user_id}/export."""

    user_id: str
    vector_source: str
    events: list[ExportedEvent]
    trained: TrainedData | None
    cached: CachedData
    forgotten: list[str] = Field(description="receipts of earlier forgettings")
    about: dict[str, str] = Field(description="what each part is")


ItemState = Literal["listed", "hidden", "unavailable", "waiting"]
"""Whether lists show an item; waiting: the bundle that serves has no embedding for it yet."""


class StoredFields(BaseModel):
    """What the item store holds of an item beside its metadata."""

    position: int = Field(description="of its newest change in the order of all changes")
    categories: list[str]
    text: str
    features: dict[str, int] = Field(description="widths of its ready features, by modality")
    available: bool
    created_at: float = Field(description="unix seconds")
    updated_at: float


class ItemAnswer(Answer):
    """Response of GET /items/{item_id}; source is `bundle` or, where the item was put, `stored`."""

    item: Annotated[dict[str, Any], Field(description="item_id, title, category, image, attributes")]
    users: int
    part_norms: dict[str, float] = Field(
        description="norm of each part of the item's embedding; none where it has none yet"
    )
    hidden: bool = Field(description="whether the item is hidden from every list")
    trained: bool = Field(True, description="whether the training of this bundle saw the item")
    state: ItemState = "listed"
    reason: str | None = Field(
        None, description="why no list ranks an item that waits, or why its text or picture could not be encoded"
    )
    stored: StoredFields | None = Field(None, description="null where the item was never put, or its store is down")


class ItemUsersAnswer(Answer):
    """Response of GET /items/{item_id}/users: who had the item in the data of training."""

    item_id: str
    users: int = Field(description="how many there are, as in GET /items/{item_id}")
    user_ids: list[str] = Field(
        description="a page of them, in the bundle's order; forgotten people are left out, so that it may have "
        "fewer than k before the end"
    )


class CatalogueItem(Item):
    """An item of the catalogue, with all of its attributes unless the request names fields."""

    trained: bool
    stored: bool = Field(description="whether it was put or patched")
    state: ItemState
    reason: str | None = Field(None, description="why no list ranks it, where it waits")


class CatalogueAnswer(WarnedAnswer):
    """Response of GET /items: trained items in the bundle's order, then stored ones, the latest change last."""

    items: list[CatalogueItem]
    next: str | None = Field(
        description="`after` of the next page, which may have items even where this one has fewer than k; null: the end"
    )


class ItemsAnswer(Answer):
    """Response to a change of items: all of it is durable."""

    position: int = Field(description="of the newest change of these items in the order of all changes")
    changed: int
    unchanged: int = Field(description="items that were already as given, and keep their positions")


class SchemaAnswer(Answer):
    """Response of /items/schema."""

    attributes: dict[str, AttributeType] = Field(description="types by name, declared or of the first value")


class EventsAnswer(Answer):
    """Response of POST /events: all events are durable."""

    accepted: int = Field(description="new events")
    duplicates: int = Field(description="events whose event_id was in the log already")
    unknown_items: list[str] = Field(description="item ids that this bundle lacks; a later bundle may use their events")


Interval = Annotated[
    tuple[float, float] | None, Field(description="Wilson's 95% interval of the rate above; null where that is null")
]


class PlaceFigures(BaseModel):
    """Impressions and clicks of some places of responses."""

    items_shown: int
    clicks: int
    click_through_rate: float | None
    click_through_interval: Interval = None


class ExplorationFigures(BaseModel):
    """How explored items do beside the other items of the same responses."""

    explored: PlaceFigures
    others: PlaceFigures


class Figures(BaseModel):
    """Impressions, clicks and purchases of the responses of one bundle, or of all; each item counts once a response."""

    answers: int = Field(description="request ids with an impression")
    items_shown: int
    clicks: int = Field(description="items clicked in the response that showed them")
    click_through_rate: float | None = Field(description="clicks divided by items shown; null where none were shown")
    click_through_interval: Interval = None
    hit_rate: float | None = Field(description="share of responses with at least one click")
    hit_interval: Interval = None
    conversions: int = Field(0, description="items purchased from the response that showed them")
    conversion_rate: float | None = Field(None, description="conversions divided by items shown")
    conversion_interval: Interval = None
    revenue: float = Field(0.0, description="value times quantity of these conversions, in the caller's currency")
    revenue_per_answer: float | None = Field(None, description="null where nothing was shown; without an interval")
    events: dict[str, int] = Field(description="all events by kind, with or without a request id")
    exploration: ExplorationFigures | None = Field(None, description="of responses with explored items, where any were")


class BundleFigures(Figures):
    """The figures of one bundle."""

    bundle: str | None = Field(
        description="a bundle of the registry; null: events that name none; other: events that name another"
    )


class DayFigures(Figures):
    """The figures of 24 hours; the last of a window may be shorter. Without `exploration`."""

    since: float
    until: float


class QualityAnswer(Answer):
    """Response of /quality."""

    since: float = Field(description="start of the window; a multiple of five minutes")
    until: float = Field(description="its end, not included: a multiple of five minutes, or now where none was given")
    overall: Figures
    bundles: list[BundleFigures]
    days: list[DayFigures] | None = Field(None, description="with by=day: the window in pieces, ascending; they add up")


class Alive(Reply):
    """Response of /healthz."""

    status: str


class Ready(Answer):
    """Response of /readyz."""

    status: str
    model: str
    fold_in: str = Field(description="whether fold-in reproduces the model's own user vectors exactly or nearly")
    recency: dict[str, float] | None = Field(
        None, description="tau and floor of the weights of past items, by rank in events; null: all count alike"
    )
    redis: str = Field(description="off, or the state of the circuit breaker: closed, open, half_open")
    index: dict[str, Any]
    spaces: list[str]
    files: str = Field(description="the bundle's files on disk: verified, not verified (yet), or the damage found")
    degraded: list[str] = Field(
        description="background tasks that ended unexpectedly and have not run for some seconds again, with the error"
    )
    events: str = Field(description="accepted, or why the event log refused the last ones")
    items: str = Field("accepted", description="accepted, or why the item store refused the last ones")
    control_file: str = Field(description="usable, or why the file of hidden items cannot be read or written")
    hidden_items: Literal["current", "last known", "unknown"] = Field(
        description="last known while Redis, which shares them, cannot be read; unknown where they were never read here"
    )
    forgotten_people: Literal["current", "last known", "unknown"] = Field(
        "current", description="as hidden_items; unknown: vectors of forgotten people may be in use"
    )
    experiments: str = Field(
        "current", description="current, or why this process did not take up those of the registry or of the file"
    )
    arms_not_serving: dict[str, str] = Field(
        {}, description="arms of the running experiment whose users get the control, with the reason"
    )


class Refusal(BaseModel):
    """The shape of every error."""

    error: str
    detail: str
    request_id: str


class Gate(BaseModel):
    """The gate's report on a bundle."""

    passed: bool
    bundle_id: str
    checks: list[GateCheck]


class GateRefusal(Refusal):
    """The error of a publish or rollback that was refused."""

    gate: Gate | None = Field(None, description="where the gate refused the bundle")


class PublishAnswer(Answer):
    """Response of a publish or a rollback, sent once this process serves the published bundle."""

    published: str = Field(description="the bundle that the registry names")
    swapped: bool = Field(description="whether this request swapped the bundle; false: it served already")
    forced: bool = Field(description="whether it was published although the gate refused it")
    gate: Gate | None


class MoveInfo(BaseModel):
    """A publish or a withdrawal of a bundle."""

    at: datetime
    by: str
    why: str


class BundleInfo(BaseModel):
    """One bundle of the registry; fields of its manifest are null where that cannot be read."""

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
    bytes: int | None = Field(description="total size of its files")
    gate: Gate | None = Field(description="the gate's last report")
    gated_at: datetime | None
    published: MoveInfo | None = Field(description="who published it last, and when")
    withdrawn: MoveInfo | None = Field(
        description="why it was rolled back automatically; only a publish by hand makes it serve again"
    )


class TroubleInfo(BaseModel):
    """A swap that failed."""

    bundle: str
    at: datetime
    error: str


class BundlesAnswer(Answer):
    """Response of GET /bundles."""

    published: str | None = Field(description="the bundle that the registry names")
    history: list[str] = Field(
        description="bundles published before, oldest first; a rollback goes to the last of them"
    )
    verified: bool = Field(description="whether the checksums of the bundle that serves were verified")
    damage: list[str] = Field(description="the damage found in its files on disk")
    trouble: TroubleInfo | None = Field(description="the last failed swap, until one succeeds")
    bundles: list[BundleInfo] = Field(description="newest first")


class ShownJob(BaseModel):
    """One retraining."""

    id: str
    state: State
    trigger: Trigger
    asked_by: str
    created_at: float = Field(description="unix seconds, as all times here")
    events_position: int = Field(description="position in the event log up to which the training reads")
    launcher: str
    arguments: tuple[str, ...]
    arm: str | None = Field(
        None, description="`experiment/arm` that gets the bundle; null: it is published to everybody"
    )
    stages: tuple[Stage, ...]
    bundle: str | None
    gate: GateReport | None
    reason: str = Field(description="why it was refused, failed or cancelled, or was not published into its arm")


class JobAnswer(Reply):
    """Response of POST and DELETE /retrain."""

    job: ShownJob


class FullJobAnswer(JobAnswer):
    """Response of GET /retrain/{job}."""

    log: list[str]


class JobsAnswer(Reply):
    """Response of GET /retrain."""

    jobs: list[ShownJob]
