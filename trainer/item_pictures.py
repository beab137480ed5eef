"""Finds the pictures that stored items name: on this machine, below a folder or where the data already have them."""

import re
from pathlib import Path

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def found_picture(reference: str, before: str, folder: Path | None) -> str:
    """The absolute path of the picture; the reference itself where no file is there, or it is a URL.

    `reference` is an absolute path, or one below `folder` that does not lead out of it. Where neither is there, a
    reference by file name is the picture that the item had `before`.
    """
    if not reference or URL.match(reference):
        return reference
    path = Path(reference)
    if path.is_absolute():
        below = path
    elif folder is not None and (folder / path).resolve().is_relative_to(folder.resolve()):
        below = folder / path
    else:
        below = None
    if below is not None and is_picture_file(str(below)):
        return str(below.absolute())
    return before if before and Path(before).name == reference else reference


def is_picture_file(image: str) -> bool:
    """Whether there is such a file on this machine."""
    try:
        return bool(image) and not URL.match(image) and Path(image).is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def picture_reference(image: str) -> str | None:
    """How a bundle names an item's picture: a URL or a relative path as it is, of an absolute path the file's name."""
    if not image:
        return None
    return Path(image).name if Path(image).is_absolute() else image
