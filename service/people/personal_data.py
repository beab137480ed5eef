"""Everything that the service keeps of one person."""

import asyncio
from typing import Any

from index.bundle import Bundle
from service.errors import UnknownUserError
from service.people.forgetting import ARCHIVE, Forgetting
from service.redis.client import FAILURES
from service.retrain.archive import archived_events
from service.users.lookup import UserLookup

ABOUT = {
    "events": "what the person did and was shown, from the event log and its archive; retraining reads them",
    "trained": "what the bundle that serves was trained with, and the vector that training made of it",
    "cached": "copies that expire by themselves",
    "forgotten": "receipts of earlier forgettings under this id, of which a keyed hash is stored",
}


async def personal_data(people: Forgetting, user_id: str, bundle: Bundle, users: UserLookup) -> dict[str, Any]:
    """The person's data as JSON can hold it; LogUnavailable where the event log cannot be read."""
    cached = users.is_cached(user_id)
    logged = dict(await people.log.events_of(user_id))
    archived = await asyncio.to_thread(archived_events, people.trainings / ARCHIVE, user_id)
    events = sorted((archived | logged).items())
    row = users.row(user_id)
    return {
        "vector_source": await _source(users, user_id),
        "events": [{"position": position, **event.model_dump()} for position, event in events],
        "trained": None if row is None else _trained(bundle, row),
        "cached": {"profile": cached, "vectors": await _cached_vectors(people, user_id)},
        "forgotten": [one.receipt for one in people.forgotten.times(user_id)],
        "about": ABOUT,
    }


async def _source(users: UserLookup, user_id: str) -> str:
    """What a list for this person is made from now."""
    try:
        profile = await users.find_for_replay(user_id)
    except UnknownUserError:
        return "popular"
    return profile.source if profile.known else "popular"


def _trained(bundle: Bundle, row: int) -> dict[str, Any]:
    items = [bundle.item_ids[item] for item in bundle.seen(row).tolist()]
    return {"bundle": bundle.bundle_id, "items": items, "embedding": bundle.user_embeddings[row].tolist()}


async def _cached_vectors(people: Forgetting, user_id: str) -> list[str] | None:
    """The bundles whose vector of the person Redis has; None where it does not respond."""
    if people.vectors is None:
        return []
    keys = await people.vector_keys(user_id)
    try:
        held = await people.vectors.held(keys)
    except FAILURES:
        return None
    return [key.split(b":")[1].decode() for key, is_held in zip(keys, held, strict=True) if is_held]
