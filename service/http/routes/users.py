"""GET and DELETE /users/{user_id}, GET /users/{user_id}/export: what is known of a user, all of it, and its end."""

from typing import Any

from fastapi.routing import APIRoute

from service.http.known_ids import is_known_user
from service.http.parameters import ArmQuery, Query
from service.http.responses import ForgottenAnswer, PersonalDataAnswer, UserAnswer
from service.http.route import Request, route, user_in_path
from service.people.forgetting import receipt_json
from service.people.personal_data import personal_data
from service.settings import UserSettings
from service.state import Service

PERSON_COST = 20  # tokens of reading the whole event log for one person


def routes(settings: UserSettings) -> list[APIRoute]:
    """The routes of /users."""
    return [
        route(
            "/users/{user_id}",
            user,
            query=ArmQuery,
            response=UserAnswer,
            arm_of=user_in_path,
            errors=settings.unknown_user_statuses,
            is_known=is_known_user,
        ),
        route(
            "/users/{user_id}",
            forget,
            method="DELETE",
            response=ForgottenAnswer,
            role="write",
            cost_of=lambda _, __: PERSON_COST,
            is_known=is_known_user,
        ),
        route(
            "/users/{user_id}/export",
            export,
            response=PersonalDataAnswer,
            role="write",
            cost_of=lambda _, __: PERSON_COST,
            is_known=is_known_user,
        ),
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
        "trained": loaded.users.row(request.id) is not None,
        "in_memory": cached is not None,
        "seen": len(profile.past),
        "excluded": len(profile.excluded),
        "events": len(events),
        "events_since_training": sum(event.timestamp > created_at for event in events),
        "last_event_age_s": None if newest is None else max(0.0, now - newest),
        "bundle_age_s": max(0.0, now - created_at),
    }


async def forget(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Forget the person: events, archive, caches, and in every bundle the vector.

    Durable and in effect when this is answered. After 503 `people_unavailable` that names a receipt, the service
    repeats what failed until it succeeds. Events that come later are of a new person.
    """
    receipt = await service.people.forget(request.id)
    return {
        "bundle": request.loaded.bundle.bundle_id,
        "source": "people",
        "user_id": request.id,
        **receipt_json(receipt),
    }


async def export(service: Service, request: Request[Query]) -> dict[str, Any]:
    """Everything that the service keeps of the person, and what each part is."""
    loaded = request.loaded
    return {
        "bundle": loaded.bundle.bundle_id,
        "source": "people",
        "user_id": request.id,
        **await personal_data(service.people, request.id, loaded.bundle, loaded.users),
    }
