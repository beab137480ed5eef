"""One function for each endpoint of the service: it builds the request, which `client.py` sends."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from index.attribute_types import AttributeType
from service.client.request import SWAP_TIMEOUT_S, ClientRequest, path_of, without_none
from service.events.event import GivenEvent
from service.http.comparison_responses import ComparisonAnswer
from service.http.responses import (
    Alive,
    BatchAnswer,
    BundlesAnswer,
    By,
    CatalogueAnswer,
    EventsAnswer,
    ForgottenAnswer,
    FullJobAnswer,
    HiddenAnswer,
    HiddenList,
    ItemAnswer,
    ItemsAnswer,
    ItemUsersAnswer,
    JobAnswer,
    JobsAnswer,
    MapAnswer,
    PersonalDataAnswer,
    PopularAnswer,
    PublishAnswer,
    QualityAnswer,
    RankAnswer,
    Ready,
    RecommendAnswer,
    SchemaAnswer,
    SessionAnswer,
    SimilarAnswer,
    TrendingAnswer,
    UserAnswer,
    UsersAnswer,
)
from service.items.item import GivenItem

FORGET_TIMEOUT_S = 60.0  # a long event log is read whole


class PageOptions(TypedDict, total=False):
    """Which page of a list."""

    k: int
    offset: int


class FilterOptions(PageOptions, total=False):
    """Which page of a list, and its filters."""

    category: Sequence[str]
    require: Sequence[str]  # name:value
    exclude: Sequence[str]
    filter: str  # such as: price < 30 and available = true
    fields: Sequence[str]  # what items carry: title, category, categories, image, names of attributes, attributes


class RecommendOptions(FilterOptions, total=False):
    """The options of /recommend (docs/serving.md)."""

    exclude_seen: bool
    explain: bool
    counterfactual: bool
    diversity: float
    diversity_by: str
    category_cap: int
    seed: int
    exploration: float


def recommend(
    user_id: str, *, force_arm: str | None = None, **options: Unpack[RecommendOptions]
) -> ClientRequest[RecommendAnswer]:
    """The best items for a user; `force_arm`, here and below, is the arm of an experiment that answers a tester."""
    return ClientRequest("GET", path_of("recommend", user_id), RecommendAnswer, {**options, **_forced(force_arm)})


def recommend_session(
    items: Iterable[str | tuple[str, float]] = (),
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    user_id: str | None = None,
    rules: Mapping[str, Any] | None = None,
    force_arm: str | None = None,
    **options: Unpack[RecommendOptions],
) -> ClientRequest[SessionAnswer]:
    """The best items for a session: viewed items, oldest first, each an id or an id with a weight."""
    body = {"liked": liked, "disliked": disliked, "user_id": user_id, "rules": rules, **options}
    given = without_none({"items": _viewed(items), **body})
    return ClientRequest("POST", "/recommend", SessionAnswer, _forced(force_arm), given)


def rank(
    candidates: Sequence[str],
    items: Iterable[str | tuple[str, float]] = (),
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    user_id: str | None = None,
    rules: Mapping[str, Any] | None = None,
    force_arm: str | None = None,
    **options: Unpack[RecommendOptions],
) -> ClientRequest[RankAnswer]:
    """The candidates in order for a user or a session of viewed items, given as to `recommend_session`."""
    body = {"liked": liked, "disliked": disliked, "user_id": user_id, "rules": rules, **options}
    given = {"candidates": candidates, "items": _viewed(items)}
    return ClientRequest("POST", "/rank", RankAnswer, _forced(force_arm), without_none({**given, **body}))


def _forced(arm: str | None) -> dict[str, str]:
    return {} if arm is None else {"force_arm": arm}


def _viewed(items: Iterable[str | tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"item_id": item} if isinstance(item, str) else {"item_id": item[0], "weight": item[1]} for item in items]


def recommend_batch(
    user_ids: Sequence[str],
    *,
    rules: Mapping[str, Any] | None = None,
    force_arm: str | None = None,
    **options: Unpack[RecommendOptions],
) -> ClientRequest[BatchAnswer]:
    """The best items for several users, by one search for each bundle that answers."""
    body = without_none({"user_ids": user_ids, "rules": rules, **options})
    return ClientRequest("POST", "/recommend/batch", BatchAnswer, _forced(force_arm), body)


def similar(
    item_id: str,
    *,
    by: By = "fused",
    explain: bool = False,
    user_id: str | None = None,
    force_arm: str | None = None,
    **options: Unpack[FilterOptions],
) -> ClientRequest[SimilarAnswer]:
    """The nearest items, without those that `user_id` has interacted with."""
    query = without_none({"by": by, "explain": explain, "user_id": user_id, "force_arm": force_arm, **options})
    return ClientRequest("GET", path_of("similar", item_id), SimilarAnswer, query)


def item(item_id: str) -> ClientRequest[ItemAnswer]:
    """An item's metadata, popularity, embedding norms and what is stored of it; NotFound where there is none."""
    return ClientRequest("GET", path_of("items", item_id), ItemAnswer, {})


def image(name: str) -> ClientRequest[bytes]:
    """A picture of the folder that the service serves; NotFound where it has none of this name."""
    return ClientRequest("GET", path_of("images", name), bytes, {})


class CatalogueOptions(FilterOptions, total=False):
    """Which page of the catalogue."""

    after: str | None  # `next` of the page before
    title: str  # the beginning, in upper or lower case
    q: str  # words that are in the title or the item id


def item_users(item_id: str, **options: Unpack[PageOptions]) -> ClientRequest[ItemUsersAnswer]:
    """Who had an item in the data of training (write, as it names people); NotFound where there is none."""
    return ClientRequest("GET", path_of("items", item_id, "/users"), ItemUsersAnswer, {**options})


def items(**options: Unpack[CatalogueOptions]) -> ClientRequest[CatalogueAnswer]:
    """A page of all items that the service knows."""
    return ClientRequest("GET", "/items", CatalogueAnswer, without_none(options))


def item_map(
    k: int | None = None, *, by: Literal["category", "cluster"] | None = None, item_ids: Sequence[str] = ()
) -> ClientRequest[MapAnswer]:
    """At most k items of the map of the catalogue, and these; NotFound where the bundle has no map."""
    return ClientRequest("GET", "/map", MapAnswer, without_none({"k": k, "by": by, "item_id": item_ids}))


def put_item(item_id: str, item: GivenItem) -> ClientRequest[ItemsAnswer]:
    """Create or replace an item (write); it is durable when this returns."""
    return ClientRequest("PUT", path_of("items", item_id), ItemsAnswer, {}, _json(item))


def patch_item(item_id: str, changes: Mapping[str, Any]) -> ClientRequest[ItemsAnswer]:
    """Change some fields of an item (write); None empties a field and removes an attribute."""
    return ClientRequest("PATCH", path_of("items", item_id), ItemsAnswer, {}, dict(changes))


def delete_item(item_id: str) -> ClientRequest[ItemsAnswer]:
    """Delete an item (write); NotFound where there is none."""
    return ClientRequest("DELETE", path_of("items", item_id), ItemsAnswer, {})


def put_items(items: Mapping[str, GivenItem]) -> ClientRequest[ItemsAnswer]:
    """Create or replace items by id, all or none (write)."""
    return ClientRequest(
        "POST", "/items", ItemsAnswer, {}, [{"item_id": item_id, **_json(item)} for item_id, item in items.items()]
    )


def item_schema() -> ClientRequest[SchemaAnswer]:
    """The type of each attribute."""
    return ClientRequest("GET", "/items/schema", SchemaAnswer, {})


def declare_attributes(types: Mapping[str, AttributeType]) -> ClientRequest[SchemaAnswer]:
    """Declare types of attributes before their first values (write)."""
    return ClientRequest("PUT", "/items/schema", SchemaAnswer, {}, {"attributes": dict(types)})


def popular(**options: Unpack[FilterOptions]) -> ClientRequest[PopularAnswer]:
    """The most popular items."""
    return ClientRequest("GET", "/popular", PopularAnswer, options)


def trending(half_life_hours: float | None = None, **options: Unpack[FilterOptions]) -> ClientRequest[TrendingAnswer]:
    """The items with the most recent positive events."""
    return ClientRequest(
        "GET", "/trending", TrendingAnswer, without_none({"half_life_hours": half_life_hours, **options})
    )


def user(user_id: str, *, force_arm: str | None = None) -> ClientRequest[UserAnswer]:
    """What is known of a user, and how fresh it is."""
    return ClientRequest("GET", path_of("users", user_id), UserAnswer, _forced(force_arm))


def users(prefix: str = "", *, k: int | None = None, after: str | None = None) -> ClientRequest[UsersAnswer]:
    """A page of the users whom training knew and whose ids begin so (write)."""
    return ClientRequest("GET", "/users", UsersAnswer, without_none({"prefix": prefix, "k": k, "after": after}))


def forget_user(user_id: str) -> ClientRequest[ForgottenAnswer]:
    """Forget a person everywhere (write); the receipt."""
    return ClientRequest("DELETE", path_of("users", user_id), ForgottenAnswer, {}, timeout_s=FORGET_TIMEOUT_S)


def export_user(user_id: str) -> ClientRequest[PersonalDataAnswer]:
    """Everything that is kept of a person (write)."""
    path = path_of("users", user_id, "/export")
    return ClientRequest("GET", path, PersonalDataAnswer, {}, timeout_s=FORGET_TIMEOUT_S)


def hide_item(item_id: str) -> ClientRequest[HiddenAnswer]:
    """Hide an item from every list, on every replica (admin)."""
    return ClientRequest("PUT", path_of("items", item_id, "/hidden"), HiddenAnswer, {})


def show_item(item_id: str) -> ClientRequest[HiddenAnswer]:
    """Show a hidden item again (admin)."""
    return ClientRequest("DELETE", path_of("items", item_id, "/hidden"), HiddenAnswer, {})


def hidden_items(**options: Unpack[PageOptions]) -> ClientRequest[HiddenList]:
    """The ids of hidden items, ascending."""
    return ClientRequest("GET", "/hidden", HiddenList, options)


def send_events(events: GivenEvent | Iterable[GivenEvent]) -> ClientRequest[EventsAnswer]:
    """Send events; they are durable when this returns. Events without an id get one, so that a retry counts once."""
    sequence = [events] if isinstance(events, GivenEvent) else events
    body = [
        {"event_id": uuid.uuid4().hex, **event.model_dump(exclude_none=True, exclude_unset=True)} for event in sequence
    ]
    return ClientRequest("POST", "/events", EventsAnswer, {}, {"events": body})


def quality(
    since: float | None = None, until: float | None = None, *, by: Literal["day"] | None = None
) -> ClientRequest[QualityAnswer]:
    """Click-through and hit rate, overall and by bundle, from one time in unix seconds to before another.

    `by="day"` also gives `days`, the figures of each 24 hours from `since`.
    """
    return ClientRequest("GET", "/quality", QualityAnswer, without_none({"since": since, "until": until, "by": by}))


def bundles() -> ClientRequest[BundlesAnswer]:
    """Every bundle of the registry (admin), and which of them serves."""
    return ClientRequest("GET", "/bundles", BundlesAnswer, {})


def compare_bundles(
    a: str, b: str, *, user_id: str | None = None, k: int | None = None
) -> ClientRequest[ComparisonAnswer]:
    """Two bundles side by side (admin): how much their lists agree, and the two lists of one user."""
    query = without_none({"a": a, "b": b, "user_id": user_id, "k": k})
    return ClientRequest("GET", "/bundles/compare", ComparisonAnswer, query, timeout_s=SWAP_TIMEOUT_S)


def publish(bundle_id: str, *, force: bool = False) -> ClientRequest[PublishAnswer]:
    """Run the gate and publish a bundle (admin); Conflict where the gate or the process refuses it."""
    path = path_of("bundles", bundle_id, "/publish")
    return ClientRequest("POST", path, PublishAnswer, {"force": force}, idempotent=False, timeout_s=SWAP_TIMEOUT_S)


def rollback(*, leaving: str | None = None) -> ClientRequest[PublishAnswer]:
    """Publish the previous bundle again (admin); with `leaving`, only while that bundle is published."""
    query = without_none({"leaving": leaving})
    return ClientRequest(
        "POST", "/bundles/rollback", PublishAnswer, query, idempotent=leaving is not None, timeout_s=SWAP_TIMEOUT_S
    )


def retrain(*, arm: str | None = None) -> ClientRequest[JobAnswer]:
    """Start a retraining, for an arm of the running experiment or, if empty, for everybody (admin).

    It is not retried: a second one would be refused and the first one's id lost.
    """
    return ClientRequest("POST", "/retrain", JobAnswer, without_none({"arm": arm}), idempotent=False)


def retrainings(limit: int | None = None) -> ClientRequest[JobsAnswer]:
    """Retrainings, newest first (admin)."""
    return ClientRequest("GET", "/retrain", JobsAnswer, without_none({"limit": limit}))


def retraining(job: str, *, log_lines: int | None = None) -> ClientRequest[FullJobAnswer]:
    """One retraining: its state, stages, gate report, bundle, and the end of its log (admin)."""
    return ClientRequest("GET", path_of("retrain", job), FullJobAnswer, without_none({"log_lines": log_lines}))


def cancel_retraining(job: str) -> ClientRequest[JobAnswer]:
    """Cancel a retraining; its bundle is not published (admin)."""
    return ClientRequest("DELETE", path_of("retrain", job), JobAnswer, {})


def healthz() -> ClientRequest[Alive]:
    """Whether the process is alive."""
    return ClientRequest("GET", "/healthz", Alive, {})


def readyz() -> ClientRequest[Ready]:
    """Whether the service can answer; ServiceUnavailable where it cannot."""
    return ClientRequest("GET", "/readyz", Ready, {})


def metrics() -> ClientRequest[str]:
    """All metrics, in the format of Prometheus."""
    return ClientRequest("GET", "/metrics", str, {})


def _json(item: GivenItem) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude_defaults=True)
