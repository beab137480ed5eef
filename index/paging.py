"""Bringing a bundle's memory maps into memory before anybody waits for them."""

from typing import Any

import numpy as np

from index.bundle import Bundle

PAGE = 4_096


def page_in(bundle: Bundle, most_bytes: int) -> int:
    """Touch every page of the arrays, those that any request may need first, up to so many bytes; returns how many.

    Whole arrays only, so that what fits is there. Lets other threads run.
    """
    touched = 0
    for array in bundle.arrays().values():
        if touched + array.nbytes <= most_bytes:
            _touch(array)
            touched += array.nbytes
    return touched


def _touch(array: np.ndarray[Any, Any]) -> int:
    as_bytes = array.reshape(-1).view(np.uint8)
    return int(as_bytes[::PAGE].max(initial=0))
