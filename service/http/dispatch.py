"""From the middleware straight to an endpoint.

FastAPI's router tries one pattern after another, and its middleware costs more than a search. Our routes have three
shapes only (a fixed path, a prefix with an id, a prefix with an id and a last word), so a look into a table finds
them; FastAPI behind it serves the documentation, and says what is not found.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import MethodNotAllowedError

PATH_PARAMS, ROUTE = "path_params", "route"  # where ASGI frameworks leave them in the scope


class _Entry(NamedTuple):
    route: APIRoute
    prefix: str  # up to the id
    id_name: str
    suffix: str  # after the id

    def id_in(self, path: str) -> str | None:
        """The id as it stands in the path, or None where the path is not of this shape."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        end = len(path) - len(self.suffix)
        return path[len(self.prefix) : end] if end >= len(self.prefix) else None


class Dispatch:
    """Plain ASGI middleware that answers for the routes it knows."""

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], APIRoute] = {}
        self._with_id: dict[tuple[str, str], list[_Entry]] = {}
        for route in routes:
            for method in route.methods or ():
                self._add(method, route)
        for entries in self._with_id.values():
            entries.sort(key=lambda entry: len(entry.prefix) + len(entry.suffix), reverse=True)  # most definite first

    def _add(self, method: str, route: APIRoute) -> None:
        prefix, brace, rest = route.path_format.partition("{")
        if not brace:
            self._fixed[method, prefix] = route
            return
        id_name, _, suffix = rest.partition("}")
        self._with_id.setdefault((method, first_word(prefix)), []).append(_Entry(route, prefix, id_name, suffix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on; MethodNotAllowedError where the path alone is one of ours."""
        if scope["type"] == "http" and self._found(scope):
            await scope[ROUTE].app(scope, receive, send)
            return
        allowed = self._allowed(scope["path"]) if scope["type"] == "http" else []
        if allowed:
            raise MethodNotAllowedError(allowed)
        await self._app(scope, receive, send)

    def _allowed(self, path: str) -> list[str]:
        """The methods that some route of ours answers under this path."""
        methods = {method for method, _ in (*self._fixed, *self._with_id)}
        return sorted(method for method in methods if self._found({"method": method, "path": path}))

    def _found(self, scope: Scope) -> bool:
        """Whether the request is for a route of ours; what is found out of it is put into the scope."""
        method, path = scope["method"], scope["path"]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            scope[ROUTE], scope[PATH_PARAMS] = fixed, {}
            return True
        for entry in self._with_id.get((method, first_word(path)), ()):
            found = entry.id_in(path)
            if found is not None:
                scope[ROUTE], scope[PATH_PARAMS] = entry.route, {entry.id_name: found}
                return True
        return False


def first_word(path: str) -> str:
    """`items` of `/items/a/b/hidden`."""
    return path[1 : path.find("/", 1)] if "/" in path[1:] else path[1:]
