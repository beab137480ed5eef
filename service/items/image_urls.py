"""Turns an item's reference to its picture into a URL, by the prefix or the folder that RECO_IMAGES names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

from service.image_hosts import origin_of, parse_host

PATH = "/images"  # where the service serves the folder
_IS_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//|data:")


@dataclass(frozen=True)
class ImageUrls:
    """With neither prefix nor folder, references stay as they are."""

    prefix: str | None = None
    folder: Path | None = None

    def __call__(self, reference: str | None) -> str | None:
        """The URL of a picture; below a folder it is a path of this service, whatever host the caller named."""
        if not reference or self.prefix is None or _IS_URL.match(reference):
            return reference
        return f"{self.prefix}/{quote(reference.lstrip('/'))}"


AS_REFERRED = ImageUrls()


def image_urls(images: str | None) -> ImageUrls:
    """How to make URLs by the setting: a URL prefix, a folder that this service serves, or None."""
    if images is None:
        return AS_REFERRED
    if images.startswith(("https://", "http://")):
        return ImageUrls(images.rstrip("/"))
    return ImageUrls(PATH, Path(images))


def picture_origins(images: str | None, hosts: Iterable[str]) -> tuple[str, ...]:
    """Where pictures come from, beside this service, by RECO_IMAGES and RECO_IMAGE_HOSTS: `https://cdn.example:443`."""
    prefix = image_urls(images).prefix
    named = [parse_host(host)[:3] for host in hosts]
    if prefix is not None and prefix != PATH:
        named.insert(0, origin_of(httpx.URL(prefix)))
    return tuple(dict.fromkeys(f"{scheme}://{host}:{port}" for scheme, host, port in named))
