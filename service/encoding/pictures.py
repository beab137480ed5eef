"""The bytes of an item's picture: a file below RECO_IMAGES, or a URL."""

import asyncio
from pathlib import Path

from index.errors import InputError
from index.reading import open_file, reason
from service.encoding.feature_cache import FeatureCache, content_key
from service.encoding.fetching import PictureFetcher
from service.encoding.picture_error import PictureError
from service.items.image_urls import image_urls


class Pictures:
    """Reads and fetches pictures. `images` is a folder or the prefix of URLs that references without one start from."""

    def __init__(self, images: str | None, fetcher: PictureFetcher, cache: FeatureCache, max_bytes: int) -> None:
        self._urls, self._fetcher, self._cache, self._max_bytes = image_urls(images), fetcher, cache, max_bytes

    async def known_key(self, reference: str) -> bytes | None:
        """The key of the picture's content where it is known without fetching it."""
        url = self._url(reference)
        return None if url is None else await self._cache.picture(url)

    async def content(self, reference: str) -> bytes:
        """The bytes of the picture; PictureError where it cannot be read, fetched, or is too large."""
        url = self._url(reference)
        if url is None:
            return await asyncio.to_thread(self._read, reference)
        content = await self._fetcher.fetch(url)
        await self._cache.put_picture(url, content_key(content))
        return content

    def _url(self, reference: str) -> str | None:
        if "://" in reference or reference.startswith(("//", "data:")):
            return reference
        has_prefix = self._urls.prefix is not None and self._urls.folder is None
        return self._urls(reference) if has_prefix else None

    def _read(self, reference: str) -> bytes:
        if self._urls.folder is None:
            raise PictureError(f"{reference[:120]!r} is a file name, and RECO_IMAGES names no folder of pictures")
        return read_below(self._urls.folder, reference.lstrip("/"), self._max_bytes)


def read_below(folder: Path, name: str, max_bytes: int) -> bytes:
    """A file below the folder; PictureError where the name leads out of it, or the file is missing or too large."""
    try:
        path = (folder / name).resolve(strict=True)
        if not path.is_relative_to(folder.resolve(strict=True)):
            raise PictureError(f"{name[:120]!r} is not below RECO_IMAGES; expected a file name there")
        with open_file(path) as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise PictureError(f"there is no file {name[:120]!r} below RECO_IMAGES", may_pass=True) from None
    except (OSError, InputError, ValueError, RuntimeError) as error:  # ValueError: a name that no file system takes
        raise PictureError(f"{name[:120]!r} cannot be read below RECO_IMAGES: {reason(error)}") from error
    if len(content) > max_bytes:
        raise PictureError(f"{name[:120]!r} has more than {max_bytes:,} bytes (RECO_IMAGE_MAX_BYTES)")
    return content
