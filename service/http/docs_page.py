"""GET /openapi.json, and GET /docs for browsers, with Swagger's files from this host: no page loads from another."""

import asyncio
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fastapi_offline
import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

PAGE, DOCUMENT = "/docs", "/openapi.json"
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
DOCS_PATHS = frozenset({PAGE, DOCUMENT, *(f"{PAGE}/{name}" for name in ASSETS)})
FOLDER = Path(fastapi_offline.__file__).parent / "static"
# The page's own script is inline, and Swagger sets styles and draws icons from data: URLs.
POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
SWAGGER_PARAMETERS = {"validatorUrl": None}  # Swagger would send the document's address to validator.swagger.io


def docs_routes(title: str, openapi: Callable[[], dict[str, Any]]) -> list[Route]:
    """The document, which `openapi` builds, and the page and its files."""

    @cache
    def rendered() -> bytes:
        return orjson.dumps(openapi())

    building = asyncio.Lock()

    async def document(_: Request) -> Response:
        async with building:  # FastAPI fails where two threads build it
            body = await asyncio.to_thread(rendered)  # it takes a tenth of a second
        return Response(body, media_type="application/json")

    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        html = get_swagger_ui_html(
            openapi_url=root + DOCUMENT,
            title=title,
            swagger_js_url=f"{root}{PAGE}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{PAGE}/swagger-ui.css",
            swagger_favicon_url=f"{root}{PAGE}/favicon.png",
            swagger_ui_parameters=SWAGGER_PARAMETERS,
        )
        return HTMLResponse(html.body, headers={"Content-Security-Policy": POLICY})

    async def asset(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return FileResponse(FOLDER / name, media_type=ASSETS[name])

    return [Route(DOCUMENT, document), Route(PAGE, page), *(Route(f"{PAGE}/{name}", asset) for name in ASSETS)]
