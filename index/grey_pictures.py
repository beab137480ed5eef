"""Grey pictures of more than eight bits, whose values Pillow would cut off at 255."""

from collections.abc import Callable

import numpy as np
from PIL import Image

DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
EIGHT, SIXTEEN, LONGEST = 255.0, 65_535.0, float(2**31 - 1)
OF_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose mode I holds 16 bits, however dark the picture


def is_deep_grey(picture: Image.Image) -> bool:
    """Whether the picture has one channel of 16 or 32 bits or of reals."""
    return picture.mode in DEEP


def eight_bits(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns parts of the picture into eight bits: by the range of its type, or of its values; white if clear."""
    black, white = _range(picture)
    transparent = picture.info.get("transparency")  # a grey of that value, or none

    def convert(part: Image.Image) -> Image.Image:
        values = np.nan_to_num(np.asarray(part, dtype=np.float64), nan=black, posinf=white, neginf=black)
        levels = np.where(values == transparent, EIGHT, (values - black) * (EIGHT / (white - black)))
        return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))

    return convert


def _range(picture: Image.Image) -> tuple[float, float]:
    if picture.mode.startswith("I;16") or picture.format in OF_SIXTEEN_BITS:
        return 0.0, SIXTEEN
    darkest, lightest = _extremes(picture)
    if darkest < 0:
        return darkest, max(lightest, darkest + 1)
    ends = (1.0, EIGHT, SIXTEEN) if picture.mode == "F" else (EIGHT, SIXTEEN, LONGEST)
    return 0.0, next((end for end in ends if lightest <= end), lightest)


def _extremes(picture: Image.Image) -> tuple[float, float]:
    """Of the finite values, row by row, so that there is no whole copy of the picture."""
    low, high = np.inf, -np.inf
    for top in range(picture.height):
        row = np.asarray(picture.crop((0, top, picture.width, top + 1)), dtype=np.float64)
        finite = row[np.isfinite(row)]
        low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    return (float(low), float(high)) if low <= high else (0.0, 1.0)
