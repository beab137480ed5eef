"""Loads a bundle's memory maps into memory before the first request needs them."""

from typing import Any

import numpy as np

from index.bundle import Bundle

PAGE = 4_096


def page_in(bundle: Bundle, most_bytes: int) -> int:
    """Touch every page of the bundle's arrays, most needed first, up to `most_bytes`; returns the bytes touched.

    Takes whole arrays only. Releases the GIL meanwhile.
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
