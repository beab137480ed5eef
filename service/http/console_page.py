"""GET /console: the page built from service/console/, which talks to this service and loads nothing from another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

PAGE = "/console"
BUILT = Path(__file__).parents[1] / "console" / "dist"  # by `make console`
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# A page that opened this one keeps no hold of its window, and no other site may embed its files.
SAME_ORIGIN = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"}
PAGE_HEADERS = {"Cache-Control": "no-cache"}
ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}  # their names hold their sums
NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>AnchorRec console</title>
<h1>The console is not built</h1>
<p>This service was started from sources. Run <code>make console</code> and start the service again; wheels and images
have it. The API answers as always.</p></html>"""


class Console(NamedTuple):
    """The built page and its files by name, read once: a build while the service runs does not mix two versions."""

    page: str
    files: Mapping[str, bytes]


def read_console(built: Path = BUILT) -> Console | None:
    """What `make console` built; None where it was not run."""
    page = built / "index.html"
    if not page.is_file():
        return None
    files = {file.name: file.read_bytes() for file in sorted((built / "assets").glob("*")) if file.suffix in TYPES}
    # Relative to /console, so that they also load where a proxy serves /PREFIX/console.
    return Console(page.read_text(encoding="utf-8").replace('"./assets/', f'"{PAGE[1:]}/assets/'), files)


def policy(image_origins: Sequence[str]) -> str:
    """The page's Content-Security-Policy; image_origins: whence pictures may come, beside this service."""
    pictures = " ".join(["img-src 'self' blob:", *image_origins])  # blob: those that were fetched with a key
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; {pictures}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def console_routes(console: Console | None, image_origins: Sequence[str]) -> list[Route]:
    """The page and its files; a page that says so where the console is not built."""
    headers = SAME_ORIGIN | {"Content-Security-Policy": policy(image_origins)}
    html, status, files = (NOT_BUILT, 503, {}) if console is None else (console.page, 200, console.files)

    async def page(_: Request) -> Response:
        return HTMLResponse(html, status, headers | PAGE_HEADERS)

    async def without_slash(_: Request) -> Response:
        return RedirectResponse(f"..{PAGE}", 307)  # relative: a proxy may add a prefix

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], headers=headers | ASSET_HEADERS, media_type=TYPES[Path(name).suffix])

    return [Route(PAGE, page), Route(f"{PAGE}/", without_slash), Route(f"{PAGE}/assets/{{name}}", asset)]


def console_paths(console: Console | None) -> frozenset[str]:
    """The paths of the page and its files, which hold no data: what the page shows, it requests with the key."""
    names = () if console is None else console.files
    return frozenset({PAGE, f"{PAGE}/", *(f"{PAGE}/assets/{name}" for name in names)})
