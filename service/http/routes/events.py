"""POST /events writes feedback to the event log. GET /quality reports clicks on recommended items."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain, pairwise
from math import ceil
from typing import Annotated, Any, Literal

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from service.errors import InvalidRequestError
from service.events.event import GivenEvent, Kind
from service.events.kinds import event_kinds
from service.events.quality import quality
from service.events.window import BUCKET_S, DAY_S, FOREVER, bucket_of
from service.http.parameters import Query
from service.http.responses import EventsAnswer, QualityAnswer
from service.http.route import Request, route
from service.settings import EventSettings
from service.state import Service

MOST_DAYS = 31  # of /quality by day; each is a read of the log
EVENTS_FOR_A_TOKEN = 100
LONG_BATCH = 100  # events; longer batches are written one after another, as each delays the requests beside it


class EventList(BaseModel):
    """Several events."""

    model_config = ConfigDict(extra="forbid")

    events: list[GivenEvent]


def _shape(body: Any) -> str:
    """Which of the three shapes a body has, so that an error is about that one only."""
    if isinstance(body, list):
        return "list"
    return "events" if isinstance(body, dict) and "events" in body else "event"


def events_body(most: int, kinds: Sequence[str]) -> Any:
    """The body of POST /events with at most so many events; the OpenAPI document names their kinds."""
    documented = Field(description="what happened", json_schema_extra={"enum": list(kinds)})
    event = create_model("GivenEvent", __base__=GivenEvent, __doc__=GivenEvent.__doc__, kind=(Kind, documented))
    several = Annotated[list[event], Field(max_length=most, fail_fast=True)]  # type: ignore[valid-type]  # made above
    event_list = create_model("EventList", __base__=EventList, __doc__=EventList.__doc__, events=(several, ...))
    return Annotated[
        Annotated[event, Tag("event")] | Annotated[several, Tag("list")] | Annotated[event_list, Tag("events")],
        Discriminator(_shape),
    ]


class QualityQuery(Query):
    """Parameters of /quality."""

    since: float | None = Field(
        None, ge=0, lt=FOREVER, allow_inf_nan=False, description="unix seconds; unset: a day before until"
    )
    until: float | None = Field(
        None, ge=0, lt=FOREVER, allow_inf_nan=False, description="unix seconds, not included; unset: no end"
    )
    by: Literal["day"] | None = Field(
        None, description=f"day: also the figures of each 24 hours from since, of at most {MOST_DAYS} days"
    )


def routes(settings: EventSettings) -> list[APIRoute]:
    """POST /events and GET /quality."""
    return [
        route(
            "/events",
            events,
            method="POST",
            body=events_body(settings.events_max_batch, event_kinds(settings).names),
            response=EventsAnswer,
            status=202,
            role="write",
            cost_of=lambda _, request: max(1, len(_as_list(request.body)) // EVENTS_FOR_A_TOKEN),
        ),
        route("/quality", figures, query=QualityQuery, response=QualityAnswer),
    ]


async def events(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Write one event, a list of events, or `{"events": [...]}`; all of them are durable once this is answered.

    An event that is sent again with the same event_id counts once. After 429 or 503 nothing was written; retry.
    """
    loaded, given = request.loaded, _as_list(request.body)
    await request.turn.begin()
    request.turn.end()  # not held while the log is written
    async with service.long_events if len(given) > LONG_BATCH else nullcontext():
        appended = await service.feedback.accept(given)
    request.timings.mark("log")
    await request.turn.begin()
    named = list(dict.fromkeys(event.item_id for event in given if event.item_id))
    rows = loaded.bundle.item_ids.rows(named).tolist()
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "events",
        "accepted": appended.n_new,
        "duplicates": appended.n_known,
        "unknown_items": [item_id for item_id, row in zip(named, rows, strict=True) if row < 0],
    }


def _as_list(body: GivenEvent | list[GivenEvent] | EventList) -> list[GivenEvent]:
    if isinstance(body, GivenEvent):
        return [body]
    return body.events if isinstance(body, EventList) else body


async def figures(service: Service, request: Request[QualityQuery]) -> dict[str, Any]:
    """Click-through, hit rate, conversions and revenue, overall and by bundle, joined to impressions by request id."""
    now = service.feedback.now()
    since, until = _window(request.query, now)
    end = now if until == FOREVER else until
    starts = [since] if request.query.by is None else _days(since, end)
    counts = [await service.feedback.log.counts_since(*window) for window in pairwise([*starts, until])]
    found = quality(chain.from_iterable(counts))
    found = service.live.exposure.explored_places.added_to(found, since, until)
    if request.query.by is not None:
        found["days"] = [
            {"since": first, "until": last, **quality(of_day)["overall"]}
            for (first, last), of_day in zip(pairwise([*starts, end]), counts, strict=True)
        ]
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "events",
        "since": since,
        "until": end,
        **found,
    }


def _window(query: QualityQuery, now: float) -> tuple[int, int]:
    """The first bucket, and the first one after it that is not included."""
    until = FOREVER if query.until is None else bucket_of(query.until)
    since = bucket_of(max(0.0, (now if query.until is None else until) - DAY_S) if query.since is None else query.since)
    if until <= since:
        raise InvalidRequestError(
            f"until: found {query.until:.0f}, expected {since + BUCKET_S} or later: the window begins at {since}, "
            f"and ends at a multiple of {BUCKET_S} seconds, too"
        )
    return since, until


def _days(since: int, end: float) -> list[int]:
    """The starts of the days of a window."""
    if bucket_of(end) - since > MOST_DAYS * DAY_S:
        raise InvalidRequestError(
            f"by: expected at most {MOST_DAYS} days, found {(end - since) / DAY_S:.1f}; divide the window, "
            "as figures of windows that follow each other add up"
        )
    return [since, *range(since + DAY_S, ceil(end), DAY_S)]
