"""GET /users/{user_id}: what is known of a user."""

from typing import Any

from fastapi.routing import APIRoute

from service.http.known_ids import is_known_user
from service.http.parameters import Query
from service.http.responses import UserAnswer
from service.http.route import Request, route
from service.settings import UserSettings
from service.state import Service


def routes(settings: UserSettings) -> list[APIRoute]:
    """GET /users."""
    return [
        route(
            "/users/{user_id}",
            user,
            response=UserAnswer,
            errors=settings.unknown_user_statuses,
            is_known=is_known_user,
        )
    ]


async def user(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Where the user's vector comes from, how many items and events it is made from, and how fresh they are."""
    loaded, now = request.loaded, service.live.now()
    cached = loaded.users.peek(request.id)
    profile = cached or await loaded.users.find(request.id)
    events = await loaded.users.events(request.id)
    created_at = loaded.bundle.manifest.created_at.timestamp()
    newest = max((event.timestamp for event in events), default=None)
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": profile.source if profile.known else "popular",
        "user_id": request.id,
        "trained": loaded.bundle.user_ids.row(request.id) is not None,
        "in_memory": cached is not None,
        "seen": len(profile.past),
        "excluded": len(profile.excluded),
        "events": len(events),
        "events_since_training": sum(event.timestamp > created_at for event in events),
        "last_event_age_s": None if newest is None else max(0.0, now - newest),
        "bundle_age_s": max(0.0, now - created_at),
    }
