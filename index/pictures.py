"""From an image file to the square of colours that a network reads, within a limit on what is decoded at a time.

Trainer and service both read pictures with it, so that they see the same. Needs Pillow, which comes with an extra.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from index.grey_pictures import eight_bits, is_deep_grey

PIXELS_IN_FLIGHT = 64_000_000  # decoded at a time by all threads; a larger picture is decoded alone
REDUCED = 16_000_000  # pixels to which a picture of four times as many or more is reduced while it is read
SHORTEST_SIDE = 512  # which reducing keeps: more than twice what networks read
READING = "2"  # changes whenever a file would be read as another picture: cached features are then encoded again
STRIP = 4_000_000  # pixels that are converted at a time
ORIENTATION = 0x0112  # the EXIF tag


class UnreadablePictureError(Exception):
    """The file is absent, cut short, of no known format, or absurdly large."""


UNREADABLE = (UnreadablePictureError,)


class PixelLimit:
    """Lets threads hold pictures as long as these have no more than so many pixels together, or one is alone."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._changed = Condition()

    @contextmanager
    def hold(self, n_pixels: int) -> Iterator[None]:
        """Wait for room for so many pixels and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + n_pixels <= self._most)
            self._held += n_pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= n_pixels
                self._changed.notify_all()


_LIMIT = PixelLimit(PIXELS_IN_FLIGHT)
# Blocks so large that malloc returns freed ones to the system; it would keep smaller ones for the thread.
Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit bounds what it warns of


def open_picture(source: Path | BinaryIO) -> Image.Image:
    """The picture in RGB, upright as its EXIF says, on white where transparent; of an animation the first frame.

    A picture of 64 million pixels or more is reduced, a JPEG before it is decoded. Raises one of UNREADABLE.
    """
    with decoded(source) as picture:
        return picture


@contextmanager
def decoded(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """As `open_picture`; the picture counts in the limit until the block ends."""
    file = _opened(source)
    with _LIMIT.hold(file.width * file.height):
        with _readable(source), file:
            file.load()
            picture = _upright(_in_rgb(file, _reducing(file.size)), file.getexif().get(ORIENTATION))
        del file  # before the next thread may decode
        yield picture


def _opened(source: Path | BinaryIO) -> Image.Image:
    """The file's header, read. A large JPEG will be decoded at a half, a quarter or an eighth of its size."""
    with _readable(source):
        file = Image.open(source)
        factor = _reducing(file.size)
        if factor > 1:
            file.draft(None, (file.width // factor, file.height // factor))
        return file


@contextmanager
def _readable(source: Path | BinaryIO) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow's readers raise nearly anything on a damaged file
        raise UnreadablePictureError(f"{source}: {error}" if isinstance(source, Path) else str(error)) from error


def _reducing(size: tuple[int, int]) -> int:
    by_area = math.isqrt(size[0] * size[1] // REDUCED)
    return max(1, min(by_area, min(size) // SHORTEST_SIDE))


def _in_rgb(picture: Image.Image, factor: int) -> Image.Image:
    """The picture in RGB, reduced: strip by strip, so that there is no whole copy of it in a wider mode."""
    if picture.mode == "RGB" and factor == 1 and not picture.has_transparency_data:
        return picture
    width, height = picture.size
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, STRIP // (width * factor)) * factor
    depth = eight_bits(picture) if is_deep_grey(picture) else None
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        plain = _on_white(depth(strip) if depth else strip)
        whole.paste(plain.reduce(factor) if factor > 1 else plain, (0, top // factor))
    return whole


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _upright(picture: Image.Image, orientation: int | None) -> Image.Image:
    if orientation is None:
        return picture
    picture.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(picture)


def pixels(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """The whole picture squeezed to size x size: (3, size, size)."""
    resized = np.array(picture.resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)
    return resized.transpose(2, 0, 1)
