"""Every call of the service as a value: what is sent, and what its answer is read as. `client.py` sends them."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from pydantic import BaseModel

from service.bundles.answers import BundlesAnswer, PublishAnswer
from service.events.event import GivenEvent
from service.http.responses import (
    Alive,
    BatchAnswer,
    By,
    EventsAnswer,
    HiddenAnswer,
    HiddenList,
    ItemAnswer,
    PopularAnswer,
    QualityAnswer,
    Ready,
    RecommendAnswer,
    SessionAnswer,
    SimilarAnswer,
    TrendingAnswer,
    UserAnswer,
)
from service.retrain.answers import FullJobAnswer, JobAnswer, JobsAnswer

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
SWAP_S = 900.0  # the gate, opening and warming up


@dataclass(frozen=True)
class Ask(Generic[T]):
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


def recommend(user_id: str, **options: Unpack[Options]) -> Ask[RecommendAnswer]:
    """The best items for a user."""
    return Ask("GET", _path("recommend", user_id), RecommendAnswer, options)


def recommend_session(
    items: Iterable[str | tuple[str, float]] = (),
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    user_id: str | None = None,
    rules: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Ask[SessionAnswer]:
    """The best items for a session: items looked at, oldest first, each alone or with its weight."""
    looked = [{"item_id": one} if isinstance(one, str) else {"item_id": one[0], "weight": one[1]} for one in items]
    body = {"items": looked, "liked": liked, "disliked": disliked, "user_id": user_id, "rules": rules, **options}
    return Ask("POST", "/recommend", SessionAnswer, {}, _given(body))


def recommend_batch(
    user_ids: Sequence[str], *, rules: Mapping[str, Any] | None = None, **options: Unpack[Options]
) -> Ask[BatchAnswer]:
    """The best items for many users, in one search."""
    return Ask("POST", "/recommend/batch", BatchAnswer, {}, _given({"user_ids": user_ids, "rules": rules, **options}))


def similar(
    item_id: str,
    *,
    by: By = "fused",
    explain: bool = False,
    user_id: str | None = None,
    **paging: Unpack[Paging],
) -> Ask[SimilarAnswer]:
    """The nearest items, without what the user had where one is named."""
    query = _given({"by": by, "explain": explain, "user_id": user_id, **paging})
    return Ask("GET", _path("similar", item_id), SimilarAnswer, query)


def item(item_id: str) -> Ask[ItemAnswer]:
    """All that the service knows of an item; NotFound where it knows none."""
    return Ask("GET", _path("items", item_id), ItemAnswer, {})


def popular(**options: Unpack[Paging]) -> Ask[PopularAnswer]:
    """What everybody likes."""
    return Ask("GET", "/popular", PopularAnswer, options)


def trending(half_life_hours: float | None = None, **options: Unpack[Paging]) -> Ask[TrendingAnswer]:
    """What is on the rise."""
    return Ask("GET", "/trending", TrendingAnswer, _given({"half_life_hours": half_life_hours, **options}))


def user(user_id: str) -> Ask[UserAnswer]:
    """What the service knows of a user, and how fresh it is."""
    return Ask("GET", _path("users", user_id), UserAnswer, {})


def hide_item(item_id: str) -> Ask[HiddenAnswer]:
    """Show an item to nobody any more, on every replica (admin)."""
    return Ask("PUT", _path("items", item_id, "/hidden"), HiddenAnswer, {})


def show_item(item_id: str) -> Ask[HiddenAnswer]:
    """Let a hidden item be shown again (admin)."""
    return Ask("DELETE", _path("items", item_id, "/hidden"), HiddenAnswer, {})


def hidden_items(**part: Unpack[Part]) -> Ask[HiddenList]:
    """The ids of hidden items, ascending."""
    return Ask("GET", "/hidden", HiddenList, part)


def send_events(events: GivenEvent | Iterable[GivenEvent]) -> Ask[EventsAnswer]:
    """Feedback; durable when this returns. Events without an id get one here, so that a retry counts nothing twice."""
    given = [events] if isinstance(events, GivenEvent) else events
    body = [{"event_id": uuid.uuid4().hex, **event.model_dump(exclude_none=True)} for event in given]
    return Ask("POST", "/events", EventsAnswer, {}, {"events": body})


def quality(since: float | None = None) -> Ask[QualityAnswer]:
    """Click-through and hit rate by bundle, since a time in unix seconds."""
    return Ask("GET", "/quality", QualityAnswer, _given({"since": since}))


def bundles() -> Ask[BundlesAnswer]:
    """Every bundle of the registry, and which of them serves."""
    return Ask("GET", "/bundles", BundlesAnswer, {})


def publish(bundle_id: str, *, force: bool = False) -> Ask[PublishAnswer]:
    """Let a bundle serve, past the gate (admin); Conflict where the gate or the process refuses it."""
    path = _path("bundles", bundle_id, "/publish")
    return Ask("POST", path, PublishAnswer, {"force": force}, safe=False, timeout_s=SWAP_S)


def rollback(*, leaving: str | None = None) -> Ask[PublishAnswer]:
    """Let the bundle serve again that served before (admin); with `leaving`, only while that one is published."""
    query = _given({"leaving": leaving})
    return Ask("POST", "/bundles/rollback", PublishAnswer, query, safe=leaving is not None, timeout_s=SWAP_S)


def retrain() -> Ask[JobAnswer]:
    """Begin a retraining (admin). Not sent twice: a second one would be refused, and the first one's id lost."""
    return Ask("POST", "/retrain", JobAnswer, {}, safe=False)


def retrainings(limit: int | None = None) -> Ask[JobsAnswer]:
    """Retrainings, newest first (admin)."""
    return Ask("GET", "/retrain", JobsAnswer, _given({"limit": limit}))


def retraining(job: str, *, log_lines: int | None = None) -> Ask[FullJobAnswer]:
    """One retraining: its state, stages, gate report, bundle, and the end of its log (admin)."""
    return Ask("GET", _path("retrain", job), FullJobAnswer, _given({"log_lines": log_lines}))


def cancel_retraining(job: str) -> Ask[JobAnswer]:
    """End a retraining; what it made is not published (admin)."""
    return Ask("DELETE", _path("retrain", job), JobAnswer, {})


def healthz() -> Ask[Alive]:
    """Whether the process is alive."""
    return Ask("GET", "/healthz", Alive, {})


def readyz() -> Ask[Ready]:
    """Whether the service can answer; ServiceUnavailable where it cannot."""
    return Ask("GET", "/readyz", Ready, {})


def metrics() -> Ask[str]:
    """What Prometheus scrapes."""
    return Ask("GET", "/metrics", str, {})


def _path(noun: str, found_id: str, verb: str = "") -> str:
    """The id percent-encoded throughout, dots too: an HTTP client would take `..` for a way up."""
    return f"/{noun}/{quote(found_id, safe='').replace('.', '%2E')}{verb}"


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
