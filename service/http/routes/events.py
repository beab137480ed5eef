"""POST /events: feedback taken in durably. GET /quality: what became of the answers."""

from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from service.events.event import GivenEvent
from service.events.quality import bucket_of, quality
from service.http.responses import EventsAnswer, QualityAnswer, Query
from service.http.route import Call, route
from service.settings import Settings
from service.state import Service

END_OF_TIME = 253_402_300_799.0  # the last second of the year 9999, as unix seconds
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


class QualityQuery(Query):
    """Parameters of /quality."""

    since: float | None = Field(
        None, ge=0, le=END_OF_TIME, allow_inf_nan=False, description="unix seconds; unset: a day ago"
    )


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [
        route(
            "/events",
            events,
            method="POST",
            body=Given,
            answer=EventsAnswer,
            status=202,
            role="write",
        ),
        route("/quality", figures, query=QualityQuery, answer=QualityAnswer),
    ]


async def events(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Take in one event, a list of them, or `{"events": [...]}`; all of them are durable once this is answered.

    Sent again with the same event_id, an event counts once. 429 and 503 say when to send again: nothing was taken in.
    """
    loaded, given = call.loaded, _listed(call.body)
    appended = await service.feedback.accept(given)
    call.timings.mark("log")
    named = dict.fromkeys(event.item_id for event in given if event.item_id)
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "events",
        "accepted": appended.n_new,
        "duplicates": appended.n_known,
        "unknown_items": [item_id for item_id in named if loaded.items.row(item_id) is None],
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
        "bundle": call.loaded.bundle.bundle_id,
        "source": "events",
        "since": since,
        "until": now,
        **found,
    }
