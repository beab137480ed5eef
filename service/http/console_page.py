"""GET /console: the page built from service/console/, which talks to this service and loads nothing from another."""

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

PAGE = "/console"
BUILT = Path(__file__).parents[1] / "console" / "dist"  # by `make console`
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGE_HEADERS = {"Cache-Control": "no-cache"}
ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}  # their names hold their sums
NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>AnchorRec console</title>
<h1>The console is not built</h1>
<p>This service was started from sources. Run <code>make console</code> and start the service again; wheels and images
have it. The API answers as always: see <a href="/docs">/docs</a>.</p></html>"""


def policy(image_origins: Sequence[str]) -> str:
    """The page's Content-Security-Policy; image_origins: whence pictures may come, beside this service."""
    pictures = " ".join(["img-src 'self' blob:", *image_origins])  # blob: those that were fetched with a key
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; {pictures}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def console_routes(image_origins: Sequence[str], built: Path = BUILT) -> list[Route]:
    """The page and its files; a page that says so where the console is not built."""
    headers = {"Content-Security-Policy": policy(image_origins)}
    index = built / "index.html"
    html, status = (index.read_text(), 200) if index.is_file() else (NOT_BUILT, 503)

    async def page(request: Request) -> Response:
        below = html.replace('="/', f'="{request.scope.get("root_path", "")}/')
        return HTMLResponse(below, status, headers | PAGE_HEADERS)

    async def asset(request: Request) -> Response:
        file = built / "assets" / request.url.path.rpartition("/")[2]
        return FileResponse(file, headers=headers | ASSET_HEADERS, media_type=TYPES[file.suffix])

    return [Route(PAGE, page), *(Route(path, asset) for path in sorted(console_paths(built) - {PAGE}))]


def console_paths(built: Path = BUILT) -> frozenset[str]:
    """The paths of the page and its files, which hold no data: what the page shows, it requests with the key."""
    files = [file for file in (built / "assets").glob("*") if file.suffix in TYPES]
    return frozenset({PAGE, *(f"{PAGE}/assets/{file.name}" for file in files)})
