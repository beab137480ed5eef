"""GET /images/{name}: the pictures of the folder that RECO_IMAGES names."""

from typing import Any

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Receive, Scope, Send

from service.errors import UnknownImageError
from service.http.image_files import ImageFiles
from service.http.parameters import Query
from service.http.route import Request, route
from service.items.image_urls import PATH, image_urls
from service.settings import RankingSettings
from service.state import Service

HEADERS = {
    "cache-control": "max-age=3600",  # then asked for again by its ETag
    "content-security-policy": "default-src 'none'; sandbox",
    "accept-ranges": "none",
}


def routes(settings: RankingSettings) -> list[APIRoute]:
    """The route of pictures; without a folder it has none."""
    files = ImageFiles(image_urls(settings.images).folder)
    conditions = StaticFiles()

    async def image(_: Service, request: Request[Query]) -> Response:
        """A picture of the folder that RECO_IMAGES names, by its file name; 304 where the caller's is current."""
        found = await files.find(request.id)
        if found is None:
            raise UnknownImageError(f"name: there is no picture {request.id[:80]!r}")
        response = _Picture(found.path, headers=HEADERS, media_type=found.media_type, stat_result=found.stat)
        if conditions.is_not_modified(response.headers, Headers(raw=list(request.headers))):
            return NotModifiedResponse(response.headers)
        return response

    async def is_picture(_: Service, name: str) -> bool:
        return await files.find(name) is not None

    media: dict[str, Any] = {"response": None, "media_type": "image/*"}
    return [route(f"{PATH}/{{name}}", image, is_known=is_picture, errors=(404,), empty=(304,), **media)]


class _Picture(FileResponse):
    """A file that is sent whole: ranges are not needed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__({**scope, "headers": []}, receive, send)
