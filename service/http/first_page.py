"""GET /, which leads a browser to the first page that is served: the console, else the documentation."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from service.http.console_page import PAGE as CONSOLE
from service.http.docs_page import PAGE as DOCS

ROOT = "/"


def first_page(*, console: bool, docs: bool, admin_port: int | None) -> Route:
    """To the console on the port that serves it, else to /docs where that is served, else 404 as any unknown path."""

    async def first(request: Request) -> Response:
        serves_console = console and admin_port in (None, request.scope["server"][1])
        if not (serves_console or docs):
            raise HTTPException(404)
        return RedirectResponse((CONSOLE if serves_console else DOCS)[1:], 307)  # relative: a proxy may add a prefix

    return Route(ROOT, first)
