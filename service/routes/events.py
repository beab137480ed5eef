"""POST /events: feedback taken in durably. GET /quality: what became of the answers."""

from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from service.events.event import GivenEvent
from service.events.quality import bucket_of, quality
from service.routing import Call, route
from service.schemas import Answer, Query, Refusal
from service.settings import Settings
from service.state import Service

WINDOW_S = 86_400.0  # of /quality where none is asked for


class EventList(BaseModel):
    """Several events."""

    model_config = ConfigDict(extra="forbid")

    events: list[GivenEvent]


def _shape(body: Any) -> str:
    """Which of the three shapes a body has, so that a refusal speaks of that one only."""
    if isinstance(body, list):
        return "list"
    return "events" if isinstance(body, dict) and "events" in body else "event"


Given = Annotated[
    Annotated[GivenEvent, Tag("event")]
    | Annotated[list[GivenEvent], Tag("list")]
    | Annotated[EventList, Tag("events")],
    Discriminator(_shape),
]


class EventsAnswer(Answer):
    """Answer of POST /events: all of it is durable."""

    accepted: int = Field(description="events that were new")
    duplicates: int = Field(description="events whose event_id the log had already")
    unknown_items: list[str] = Field(description="ids that this bundle lacks; their events are kept for the next one")


class QualityQuery(Query):
    """Parameters of /quality."""

    since: float | None = Field(None, ge=0, allow_inf_nan=False, description="unix seconds; unset: a day ago")


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


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    refusals: dict[int | str, Any] = {status: {"model": Refusal} for status in (413, 429, 503)}
    return [
        route(
            "/events",
            events,
            method="POST",
            body=Given,
            answer=EventsAnswer,
            status=202,
            role="write",
            responses=refusals,
        ),
        route("/quality", figures, query=QualityQuery, answer=QualityAnswer, responses={503: {"model": Refusal}}),
    ]


async def events(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Take in one event, a list of them, or `{"events": [...]}`; all of them are durable once this is answered.

    Sent again with the same event_id, an event counts once. 429 and 503 say when to send again: nothing was taken in.
    """
    serving, given = call.serving, _listed(call.body)
    appended = await service.feedback.take(given)
    call.stages.mark("log")
    named = dict.fromkeys(event.item_id for event in given if event.item_id)
    return {
        "bundle": serving.bundle.bundle_id,
        "source": "events",
        "accepted": appended.n_new,
        "duplicates": appended.n_known,
        "unknown_items": [item_id for item_id in named if serving.items.row(item_id) is None],
    }


def _listed(body: GivenEvent | list[GivenEvent] | EventList) -> list[GivenEvent]:
    if isinstance(body, GivenEvent):
        return [body]
    return body.events if isinstance(body, EventList) else body


async def figures(service: Service, call: Call[QualityQuery]) -> dict[str, Any]:
    """Click-through and hit rate, over all and by bundle, from impressions joined to clicks by request id."""
    now = service.feedback.now()
    since = bucket_of(now - WINDOW_S if call.query.since is None else call.query.since)
    found = quality(await service.feedback.log.counts_since(since))
    return {
        "bundle": call.serving.bundle.bundle_id,
        "source": "events",
        "since": since,
        "until": now,
        **found,
    }
