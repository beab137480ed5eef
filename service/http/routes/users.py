"""GET /users: what is known of a user."""

from typing import Any

from fastapi.routing import APIRoute

from service.http.responses import Query, UserAnswer
from service.http.route import Call, route
from service.settings import Settings
from service.state import Service


def routes(settings: Settings) -> list[APIRoute]:
    """The routes of this file."""
    return [route("/users/{user_id:path}", user, answer=UserAnswer, refusals=settings.unknown_user_statuses)]


async def user(service: Service, call: Call[Query]) -> dict[str, Any]:
    """Where the user's vector comes from, of what it is made, and how fresh that is; the vector itself is not told."""
    loaded, now = call.loaded, service.live.now()
    kept = loaded.users.peek(call.id) is not None
    profile, events = await loaded.users.find(call.id), await loaded.users.events(call.id)
    made_at = loaded.bundle.manifest.created_at.timestamp()
    newest = max((event.timestamp for event in events), default=None)
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": profile.source if profile.known else "popular",
        "user_id": call.id,
        "trained": loaded.bundle.user_ids.row(call.id) is not None,
        "in_memory": kept,
        "seen": len(profile.past),
        "excluded": len(profile.excluded),
        "events": len(events),
        "events_since_training": sum(event.timestamp > made_at for event in events),
        "last_event_age_s": None if newest is None else max(0.0, now - newest),
        "bundle_age_s": max(0.0, now - made_at),
    }
