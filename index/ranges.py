"""Checks that sizes of a bundle's files are plausible, that numbers that point into an array point inside it, and ids.

Outside its array such a number would fail the request that follows it, or answer it with another row.
"""

from pathlib import Path
from typing import Any

import numpy as np

from index.errors import BundleError
from index.layout import BundleSizes

Array = np.ndarray[Any, Any]


MOST_BYTES, MOST_BYTES_A_ROW = 64 << 20, 64 << 10  # of a file, beside its embeddings: far more than any has


def check_size(file: str, n_bytes: int, sizes: BundleSizes) -> None:
    """BundleError where a file is longer than any of such a bundle, so that reading it could take hours, or empty.

    The files of /proc are said to be empty, and reading some of them waits for ever.
    """
    widths = sum(width for _, width in (*(sizes.anchor_widths or ()), *sizes.projections))
    rows = sizes.n_users + sizes.n_items + widths
    most = MOST_BYTES + rows * (MOST_BYTES_A_ROW + 8 * sizes.embedding_size) + 8 * sizes.n_interactions
    if not 0 < n_bytes <= most:
        raise BundleError(f"{file} has {n_bytes:,} bytes; expected 1 to {most:,}: the file is damaged")


def check_ranges(path: Path, sizes: BundleSizes, arrays: dict[str, Array]) -> None:
    """BundleError on the first array with a number outside what it points into; reads the arrays of ids and seen."""
    for offsets, values in (
        ("user_ids/offsets.npy", "user_ids/bytes.npy"),
        ("item_ids/offsets.npy", "item_ids/bytes.npy"),
        ("items/offsets.npy", "items/bytes.npy"),
        ("seen/user_offsets.npy", "seen/user_items.npy"),
        ("seen/item_offsets.npy", "seen/item_users.npy"),
    ):
        _check_offsets(path / offsets, arrays[offsets], len(arrays[values]))
    for table in ("user_ids", "item_ids"):
        _check_texts(path / table / "bytes.npy", arrays[f"{table}/bytes.npy"], arrays[f"{table}/offsets.npy"])
    for name, n in (
        ("seen/user_items.npy", sizes.n_items),
        ("seen/item_users.npy", sizes.n_users),
        ("user_ids/rows.npy", sizes.n_users),
        ("item_ids/rows.npy", sizes.n_items),
    ):
        _check_rows(path / name, arrays[name], n)


def _check_offsets(file: Path, offsets: Array, n: int) -> None:
    ascending = bool((offsets[1:] >= offsets[:-1]).all())
    if offsets[0] != 0 or offsets[-1] != n or not ascending:
        raise BundleError(f"{file} runs from {offsets[0]} to {offsets[-1]}; expected an ascending run from 0 to {n}")


def _check_rows(file: Path, rows: Array, n: int) -> None:
    if len(rows) and (rows.min() < 0 or rows.max() >= n):
        raise BundleError(f"{file} has rows {rows.min()}..{rows.max()}; expected 0..{n - 1}")


def _check_texts(file: Path, text: Array, offsets: Array) -> None:
    starts = offsets[offsets < len(text)]
    try:
        text.tobytes().decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{file} is no UTF-8 ({error.reason} at byte {error.start}); expected ids") from error
    if ((text[starts] & 0xC0) == 0x80).any():  # a byte inside a character
        raise BundleError(f"{file} has an id that ends inside a character; expected ids in UTF-8")
