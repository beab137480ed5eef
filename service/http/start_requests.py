"""The requests that warm a process up before it is ready: one of each kind, for users and items of its bundle."""

from collections.abc import Iterator, Sequence

from fastapi.routing import APIRoute

from index.ids import IdTable
from service.bundles.warmup import RecordedRequest
from service.http.requests import BatchBody, SessionBody
from service.http.route import replayable
from service.state import Service

USERS, ITEMS = 3, 3  # of the bundle, evenly spaced
MOST_ITEMS = 500_000  # of a bundle for which all is done that some requests need; else only what most of them need


def start_requests(routes: Sequence[APIRoute], service: Service) -> list[RecordedRequest]:
    """Requests as callers send them; none where `warm_up_requests` is 0."""
    return list(_start_requests(routes, service)) if service.settings.warm_up_requests else []


def _start_requests(routes: Sequence[APIRoute], service: Service) -> Iterator[RecordedRequest]:
    by_endpoint = {route.endpoint.__name__: route for route in routes}
    loaded = service.current.loaded
    small = len(loaded.bundle.item_ids) <= MOST_ITEMS
    users = _some(loaded.bundle.user_ids, USERS if small else 1)
    items = _some(loaded.bundle.item_ids, ITEMS if small else 1)
    for user_id in users:
        for query in ("", "explain=true", "explain=true&counterfactual=true") if small else ("explain=true",):
            yield replayable(by_endpoint["recommend"], service, user_id, query)
    for item_id in items:
        for by in loaded.similar_items.copied_spaces:
            yield replayable(by_endpoint["similar"], service, item_id, f"by={by}&explain=true")
        yield replayable(by_endpoint["item"], service, item_id, "")
    if small:
        yield replayable(by_endpoint["recommend"], service, users[0], "category=any")  # builds the facets
    yield replayable(by_endpoint["popular"], service, "", "")
    yield replayable(by_endpoint["user"], service, users[0], "")
    if not small:
        return
    k = service.settings.k_default
    for explain in (False, True):
        batch = BatchBody.model_validate({"k": k, "user_ids": users, "explain": explain})
        yield replayable(by_endpoint["batch"], service, "", "", batch)
    session = SessionBody.model_validate({"k": k, "user_id": users[0]})
    yield replayable(by_endpoint["session"], service, "", "", session)


def _some(ids: IdTable, n: int) -> list[str]:
    last = len(ids) - 1
    return [ids[row] for row in sorted({last * place // n for place in range(n)})]
