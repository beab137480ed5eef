import asyncio
from typing import Any

import pytest
from fastapi.routing import APIRoute

from service.errors import MethodNotAllowedError, NoRouteError
from service.http.route import DispatchMiddleware


def answering(name: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["answered"] = (name, scope.get("path_params"))

    return app


def made(method: str, path: str) -> APIRoute:
    route = APIRoute(path, lambda: None, methods=[method])
    route.app = answering(f"{method} {route.path_format}")
    return route


ROUTES = [
    made("GET", "/popular"),
    made("GET", "/items/{item_id}"),
    made("GET", "/items/{item_id}/history"),
    made("PUT", "/items/{item_id}/hidden"),
    made("POST", "/recommend/batch"),
    made("GET", "/recommend/{user_id}"),
]


def answer(method: str, path: str) -> Any:
    scope = {"type": "http", "method": method, "path": path}
    asyncio.run(DispatchMiddleware(answering("FastAPI"), ROUTES)(scope, None, None))  # type: ignore[arg-type]
    return scope["answered"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/popular", ("GET /popular", {})),
        ("GET", "/items/a", ("GET /items/{item_id}", {"item_id": "a"})),
        ("HEAD", "/items/a", ("GET /items/{item_id}", {"item_id": "a"})),
        ("HEAD", "/popular", ("GET /popular", {})),
        ("GET", "/items/a%2Fb%2F", ("GET /items/{item_id}", {"item_id": "a%2Fb%2F"})),
        ("GET", "/items/a;b=c", ("GET /items/{item_id}", {"item_id": "a;b=c"})),
        ("GET", "/items/..", ("GET /items/{item_id}", {"item_id": ".."})),
        ("GET", "/items/a%2Fhistory", ("GET /items/{item_id}", {"item_id": "a%2Fhistory"})),
        ("PUT", "/items//hidden", ("PUT /items/{item_id}/hidden", {"item_id": ""})),
        # The route refuses such an id where it is unknown.
        ("GET", "/items/a/b/", ("GET /items/{item_id}", {"item_id": "a/b/"})),
        ("GET", "/items/a/", ("GET /items/{item_id}", {"item_id": "a/"})),
        ("GET", "/items/a/../b", ("GET /items/{item_id}", {"item_id": "a/../b"})),
        ("GET", "/items/", ("GET /items/{item_id}", {"item_id": ""})),
        ("PUT", "/items/a/b/hidden", ("PUT /items/{item_id}/hidden", {"item_id": "a/b"})),
        ("GET", "/items/a/history", ("GET /items/{item_id}/history", {"item_id": "a"})),
        ("POST", "/recommend/batch", ("POST /recommend/batch", {})),
        ("GET", "/recommend/batch", ("GET /recommend/{user_id}", {"user_id": "batch"})),
    ],
)
def test_a_request_goes_to_the_most_definite_route(method: str, path: str, expected: Any) -> None:
    assert answer(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/items"), ("GET", "/docs"), ("GET", "/"), ("GET", "")],
)
def test_what_is_no_route_of_ours_is_left_to_fastapi(method: str, path: str) -> None:
    assert answer(method, path) == ("FastAPI", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/popular", "GET, HEAD"),
        ("OPTIONS", "/popular", "GET, HEAD"),
        ("PUT", "/items/hidden", "GET, HEAD"),
        ("POST", "/items/a/hidden", "PUT"),
        ("PUT", "/recommend/batch", "GET, HEAD, POST"),
    ],
)
def test_a_path_of_ours_under_another_method_is_refused_with_the_methods_that_it_has(
    method: str, path: str, allowed: str
) -> None:
    with pytest.raises(MethodNotAllowedError, match=f"this route answers {allowed}$"):
        answer(method, path)


@pytest.mark.parametrize(
    ("method", "path", "name"), [("DELETE", "/items/a/b", "item_id"), ("PUT", "/recommend/u1/typo", "user_id")]
)
def test_a_path_with_more_segments_than_any_route_has_is_none_and_the_caller_is_told_why(
    method: str, path: str, name: str
) -> None:
    with pytest.raises(NoRouteError, match=f"{name} is one segment of the path; write a slash in it as %2F"):
        answer(method, path)
