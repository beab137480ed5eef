"""Finds the pictures that may be served: image files in one folder, and none that a link or a name leads outside to."""

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from starlette.staticfiles import StaticFiles

HEAD_BYTES = 16  # that tell the type of a picture
BEGINNINGS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
CONTAINERS = {(b"RIFF", b"WEBP"): "image/webp", (b"ftyp", b"avif"): "image/avif", (b"ftyp", b"avis"): "image/avif"}


class Picture(NamedTuple):
    """An image file, its state when it was found, and its media type by its content."""

    path: str
    stat: os.stat_result
    media_type: str


class ImageFiles:
    """The pictures of a folder, by their paths in it; without a folder there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._files = None if folder is None else StaticFiles(directory=folder)

    async def find(self, name: str) -> Picture | None:
        """The picture of this name; None where it has none, and for hidden files and everything outside the folder."""
        return None if self._files is None else await asyncio.to_thread(self._find, self._files, name)

    def _find(self, files: StaticFiles, name: str) -> Picture | None:
        if any(part.startswith(".") for part in name.split("/")):
            return None
        try:
            path, found = files.lookup_path(name)
            if found is None or not os.path.isfile(path):
                return None
            with open(path, "rb") as file:
                media_type = type_of(file.read(HEAD_BYTES))
        except (OSError, ValueError):  # unreadable, gone meanwhile, or a name that no file can have
            return None
        return None if media_type is None else Picture(path, found, media_type)


def type_of(head: bytes) -> str | None:
    """The media type of a picture by its first bytes; None for what is no picture, or one that may hold scripts."""
    for beginning, media_type in BEGINNINGS.items():
        if head.startswith(beginning):
            return media_type
    return CONTAINERS.get((head[:4], head[8:12])) or CONTAINERS.get((head[4:8], head[8:12]))
