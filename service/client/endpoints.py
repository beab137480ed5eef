"""Every call of the service as a value: what is sent, and what its answer is read as. `client.py` sends them."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from pydantic import BaseModel

from service.events.event import GivenEvent
from service.http.responses import (
    Alive,
    BatchAnswer,
    BundlesAnswer,
    By,
    EventsAnswer,
    FullJobAnswer,
    HiddenAnswer,
    HiddenList,
    ItemAnswer,
    JobAnswer,
    JobsAnswer,
    PopularAnswer,
    PublishAnswer,
    QualityAnswer,
    Ready,
    RecommendAnswer,
    SessionAnswer,
    SimilarAnswer,
    TrendingAnswer,
    UserAnswer,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
SWAP_S = 900.0  # the gate, opening and warming up


@dataclass(frozen=True)
class ClientRequest(Generic[T]):
    """One call. `safe`: sent twice it does no more than sent once."""

    method: str
    path: str
    answer: type[T]  # a model, or str for the text as it is
    query: Mapping[str, Any]
    body: Any = None
    safe: bool = True
    timeout_s: float = 0.0  # longest that it may take, where that is more than the client's own limit

    def read(self, content: bytes) -> T:
        """The typed answer; pydantic's ValidationError where the bytes are no such thing."""
        if issubclass(self.answer, BaseModel):
            return self.answer.model_validate_json(content)
        return self.answer(content.decode())  # type: ignore[call-arg]  # str is the only other


class Part(TypedDict, total=False):
    """Which part of a list."""

    k: int
    offset: int


class Paging(Part, total=False):
    """Which part of a list, and of which items."""

    category: Sequence[str]
    require: Sequence[str]  # name:value
    exclude: Sequence[str]


class Options(Paging, total=False):
    """How recommendations should be; docs/serving.md says what each does."""

    exclude_seen: bool
    explain: bool
    counterfactual: bool
    diversity: float
    diversity_by: str
    category_cap: int
    seed: int


def recommend(user_id: str, **options: Unpack[Options]) -> ClientRequest[RecommendAnswer]:
    """The best items for a user."""
    return ClientRequest("GET", _path("recommend", user_id), RecommendAnswer, options)


def recommend_session(
    items: Iterable[str | tuple[str, float]] = (),
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    user_id: str | None = None,
    rules: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> ClientRequest[SessionAnswer]:
    """The best items for a session: items looked at, oldest first, each alone or with its weight."""
    looked = [{"item_id": one} if isinstance(one, str) else {"item_id": one[0], "weight": one[1]} for one in items]
    body = {"items": looked, "liked": liked, "disliked": disliked, "user_id": user_id, "rules": rules, **options}
    return ClientRequest("POST", "/recommend", SessionAnswer, {}, _given(body))


def recommend_batch(
    user_ids: Sequence[str], *, rules: Mapping[str, Any] | None = None, **options: Unpack[Options]
) -> ClientRequest[BatchAnswer]:
    """The best items for many users, in one search."""
    return ClientRequest(
        "POST", "/recommend/batch", BatchAnswer, {}, _given({"user_ids": user_ids, "rules": rules, **options})
    )


def similar(
    item_id: str,
    *,
    by: By = "fused",
    explain: bool = False,
    user_id: str | None = None,
    **paging: Unpack[Paging],
) -> ClientRequest[SimilarAnswer]:
    """The nearest items, without what the user had where one is named."""
    query = _given({"by": by, "explain": explain, "user_id": user_id, **paging})
    return ClientRequest("GET", _path("similar", item_id), SimilarAnswer, query)


def item(item_id: str) -> ClientRequest[ItemAnswer]:
    """All that the service knows of an item; NotFound where it knows none."""
    return ClientRequest("GET", _path("items", item_id), ItemAnswer, {})


def popular(**options: Unpack[Paging]) -> ClientRequest[PopularAnswer]:
    """What everybody likes."""
    return ClientRequest("GET", "/popular", PopularAnswer, options)


def trending(half_life_hours: float | None = None, **options: Unpack[Paging]) -> ClientRequest[TrendingAnswer]:
    """What is on the rise."""
    return ClientRequest("GET", "/trending", TrendingAnswer, _given({"half_life_hours": half_life_hours, **options}))


def user(user_id: str) -> ClientRequest[UserAnswer]:
    """What the service knows of a user, and how fresh it is."""
    return ClientRequest("GET", _path("users", user_id), UserAnswer, {})


def hide_item(item_id: str) -> ClientRequest[HiddenAnswer]:
    """Show an item to nobody any more, on every replica (admin)."""
    return ClientRequest("PUT", _path("items", item_id, "/hidden"), HiddenAnswer, {})


def show_item(item_id: str) -> ClientRequest[HiddenAnswer]:
    """Let a hidden item be shown again (admin)."""
    return ClientRequest("DELETE", _path("items", item_id, "/hidden"), HiddenAnswer, {})


def hidden_items(**part: Unpack[Part]) -> ClientRequest[HiddenList]:
    """The ids of hidden items, ascending."""
    return ClientRequest("GET", "/hidden", HiddenList, part)


def send_events(events: GivenEvent | Iterable[GivenEvent]) -> ClientRequest[EventsAnswer]:
    """Feedback; durable when this returns. Events without an id get one here, so that a retry counts nothing twice."""
    given = [events] if isinstance(events, GivenEvent) else events
    body = [{"event_id": uuid.uuid4().hex, **event.model_dump(exclude_none=True)} for event in given]
    return ClientRequest("POST", "/events", EventsAnswer, {}, {"events": body})


def quality(since: float | None = None) -> ClientRequest[QualityAnswer]:
    """Click-through and hit rate by bundle, since a time in unix seconds."""
    return ClientRequest("GET", "/quality", QualityAnswer, _given({"since": since}))


def bundles() -> ClientRequest[BundlesAnswer]:
    """Every bundle of the registry, and which of them serves."""
    return ClientRequest("GET", "/bundles", BundlesAnswer, {})


def publish(bundle_id: str, *, force: bool = False) -> ClientRequest[PublishAnswer]:
    """Let a bundle serve, past the gate (admin); Conflict where the gate or the process refuses it."""
    path = _path("bundles", bundle_id, "/publish")
    return ClientRequest("POST", path, PublishAnswer, {"force": force}, safe=False, timeout_s=SWAP_S)


def rollback(*, leaving: str | None = None) -> ClientRequest[PublishAnswer]:
    """Let the bundle serve again that served before (admin); with `leaving`, only while that one is published."""
    query = _given({"leaving": leaving})
    return ClientRequest("POST", "/bundles/rollback", PublishAnswer, query, safe=leaving is not None, timeout_s=SWAP_S)


def retrain() -> ClientRequest[JobAnswer]:
    """Begin a retraining (admin). Not sent twice: a second one would be refused, and the first one's id lost."""
    return ClientRequest("POST", "/retrain", JobAnswer, {}, safe=False)


def retrainings(limit: int | None = None) -> ClientRequest[JobsAnswer]:
    """Retrainings, newest first (admin)."""
    return ClientRequest("GET", "/retrain", JobsAnswer, _given({"limit": limit}))


def retraining(job: str, *, log_lines: int | None = None) -> ClientRequest[FullJobAnswer]:
    """One retraining: its state, stages, gate report, bundle, and the end of its log (admin)."""
    return ClientRequest("GET", _path("retrain", job), FullJobAnswer, _given({"log_lines": log_lines}))


def cancel_retraining(job: str) -> ClientRequest[JobAnswer]:
    """End a retraining; what it made is not published (admin)."""
    return ClientRequest("DELETE", _path("retrain", job), JobAnswer, {})


def healthz() -> ClientRequest[Alive]:
    """Whether the process is alive."""
    return ClientRequest("GET", "/healthz", Alive, {})


def readyz() -> ClientRequest[Ready]:
    """Whether the service can answer; ServiceUnavailable where it cannot."""
    return ClientRequest("GET", "/readyz", Ready, {})


def metrics() -> ClientRequest[str]:
    """What Prometheus scrapes."""
    return ClientRequest("GET", "/metrics", str, {})


def _path(noun: str, found_id: str, verb: str = "") -> str:
    """The id percent-encoded throughout, dots too: an HTTP client would take `..` for a way up."""
    return f"/{noun}/{quote(found_id, safe='').replace('.', '%2E')}{verb}"


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
