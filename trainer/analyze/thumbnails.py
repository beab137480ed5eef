"""Small copies of item pictures as data URIs."""

import base64
import io
from pathlib import Path

from index.pictures import UNREADABLE, open_picture

LONGEST_SIDE = 160
"""Pixels: twice what the page shows, for dense screens."""


def thumbnail(image: str) -> str | None:
    """A JPEG of the picture as a data URI; None where the picture is missing or unreadable."""
    if not image:
        return None
    try:
        picture = open_picture(Path(image))
    except UNREADABLE:
        return None
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()
