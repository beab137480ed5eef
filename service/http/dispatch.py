"""Finds the route of each request: by method and path, where an id in the path may hold any characters."""

from collections.abc import Sequence
from typing import NamedTuple

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import MethodNotAllowedError, NoRouteError
from service.http.route import PATH_PARAMS, ROUTE


class _IdPattern(NamedTuple):
    """A route whose path holds an id."""

    route: APIRoute
    prefix: str  # of the path, up to the id
    id_name: str
    suffix: str  # after the id

    def match(self, path: str) -> str | None:
        """The encoded id in the path, perhaps with bare slashes, or None where the path does not match."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        end = len(path) - len(self.suffix)
        return path[len(self.prefix) : end] if end >= len(self.prefix) else None


class DispatchMiddleware:
    """Plain ASGI middleware that passes each request to its route, and the rest on to the application.

    HEAD goes where GET does: the server leaves out the body. An id is one segment of the path. Where a path with more
    segments could be one of an id with bare slashes, the route decides whether it knows such an id.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], APIRoute] = {}  # by method and path
        self._with_id: dict[tuple[str, str], list[_IdPattern]] = {}  # by method and first segment of the path
        for route in routes:
            for method in route.methods or ():
                self._add(method, route)
                if method == "GET":
                    self._add("HEAD", route)
        for patterns in self._with_id.values():
            patterns.sort(key=lambda pattern: len(pattern.prefix) + len(pattern.suffix), reverse=True)  # longest first
        self._methods = sorted({method for method, _ in (*self._fixed, *self._with_id)})

    def _add(self, method: str, route: APIRoute) -> None:
        prefix, brace, rest = route.path_format.partition("{")
        if not brace:
            self._fixed[method, prefix] = route
            return
        id_name, _, suffix = rest.partition("}")
        self._with_id.setdefault((method, first_segment(prefix)), []).append(_IdPattern(route, prefix, id_name, suffix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """MethodNotAllowedError, NoRouteError where a route has this path, or nearly, but does not answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._match(scope) or self._match_or_refuse(scope):
            await scope[ROUTE].app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _match(self, scope: Scope) -> bool:
        """Whether a route matches; if so, the route and the encoded id are put into the scope."""
        method, path = scope["method"], scope["path"]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            scope[ROUTE], scope[PATH_PARAMS] = fixed, {}
            return True
        for pattern in self._with_id.get((method, first_segment(path)), ()):
            encoded_id = pattern.match(path)
            if encoded_id is not None and "/" not in encoded_id:
                scope[ROUTE], scope[PATH_PARAMS] = pattern.route, {pattern.id_name: encoded_id}
                return True
        return False

    def _match_or_refuse(self, scope: Scope) -> bool:
        """Whether a route with an id matches if bare slashes belong to the id; it must know that id."""
        method, path = scope["method"], scope["path"]
        near = {other: self._match_with_slashes(other, path) for other in self._methods}
        found = near.get(method)
        if found is not None:
            pattern, encoded_id = found
            scope[ROUTE], scope[PATH_PARAMS] = pattern.route, {pattern.id_name: encoded_id}
            return True
        allowed = [other for other in self._methods if self._match({"method": other, "path": path})]
        if allowed:
            raise MethodNotAllowedError(allowed)
        for pattern, _ in filter(None, near.values()):
            raise NoRouteError(pattern.id_name)
        return False

    def _match_with_slashes(self, method: str, path: str) -> tuple[_IdPattern, str] | None:
        for pattern in self._with_id.get((method, first_segment(path)), ()):
            encoded_id = pattern.match(path)
            if encoded_id is not None and "/" in encoded_id:
                return pattern, encoded_id
        return None


def first_segment(path: str) -> str:
    """`items` of `/items/a/b/hidden`."""
    return path[1 : path.find("/", 1)] if "/" in path[1:] else path[1:]
