"""The array files of a bundle of given sizes, with the dtype and shape of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.errors import InputError
from index.item_map import CLUSTERS, POSITIONS
from index.tables import Precision

Array = np.ndarray[Any, Any]

MAX_NEIGHBOUR_WIDTH = 256
PROJECTION = "neighbours_projection"  # the folder
_CHUNK = 65_536


@dataclass(frozen=True)
class BundleSizes:
    """The sizes that determine the shape of every array in a bundle."""

    n_users: int
    n_items: int
    n_interactions: int
    embedding_size: int
    parts: tuple[str, ...]
    neighbours: tuple[str, ...]
    user_own: bool = True  # whether users have an own term
    anchor_widths: tuple[tuple[str, int], ...] | None = None  # by modality, of the features that predict an anchor
    anchor_fold_in: bool = False  # whether they predict fold_in, too
    projections: tuple[tuple[str, int], ...] = ()  # by modality, of the features that neighbours are projections of
    clusters: int | None = None  # of the map of the items; None: there is no map
    precision: Precision = "float32"  # of the tables that need not be exact: all vectors but item_embeddings

    @property
    def tables(self) -> tuple[str, ...]:
        """The files of the tables that `precision` applies to."""
        parts = (f"item_parts/{part}.npy" for part in self.parts)
        return ("user_embeddings.npy", *(("user_own.npy",) if self.user_own else ()), "fold_in.npy", *parts)


@dataclass(frozen=True)
class ArraySpec:
    """An array's dtype and shape; a None in the shape is free."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join('any' if size is None else str(size) for size in self.shape)})"

    def matches(self, array: Array) -> bool:
        """Whether the array has this dtype and shape."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(expected in (None, size) for expected, size in zip(self.shape, array.shape, strict=True))
        )


def layout(sizes: BundleSizes) -> dict[str, ArraySpec]:
    """The expected spec of every .npy file of the bundle, by its path in the bundle."""
    users, items, seen = sizes.n_users, sizes.n_items, sizes.n_interactions
    return {
        "item_embeddings.npy": ArraySpec("float32", (items, sizes.embedding_size)),
        **_tables(sizes),
        **{f"neighbours/{modality}.npy": ArraySpec("float16", (items, None)) for modality in sizes.neighbours},
        "seen/user_offsets.npy": ArraySpec("int64", (users + 1,)),
        "seen/user_items.npy": ArraySpec("int32", (seen,)),
        "seen/item_offsets.npy": ArraySpec("int64", (items + 1,)),
        "seen/item_users.npy": ArraySpec("int32", (seen,)),
        "popularity/count.npy": ArraySpec("int64", (items,)),
        "popularity/trend.npy": ArraySpec("float32", (items,)),
        **_anchor(sizes),
        **{
            f"{PROJECTION}/{modality}.npy": ArraySpec("float32", (width, None)) for modality, width in sizes.projections
        },
        **_map(sizes),
        **_id_table("user_ids", users),
        **_id_table("item_ids", items),
        **_strings("items", items),
    }


def _tables(sizes: BundleSizes) -> dict[str, ArraySpec]:
    specs = {}
    for file in sizes.tables:
        n = sizes.n_users if file.startswith("user_") else sizes.n_items
        specs[file] = ArraySpec(sizes.precision, (n, sizes.embedding_size))
        if sizes.precision == "int8":
            specs[f"scales/{file}"] = ArraySpec("float32", (n,))
    return specs


def _anchor(sizes: BundleSizes) -> dict[str, ArraySpec]:
    if sizes.anchor_widths is None:
        return {}
    d = sizes.embedding_size
    specs = {"anchor/mean.npy": ArraySpec("float32", (d,))}
    for modality, width in sizes.anchor_widths:
        specs[f"anchor/{modality}_weights.npy"] = ArraySpec("float32", (width, d))
        specs[f"anchor/{modality}_center.npy"] = ArraySpec("float32", (width,))
        if sizes.anchor_fold_in:
            specs[f"anchor/fold_in_{modality}_weights.npy"] = ArraySpec("float32", (width, d))
    if sizes.anchor_fold_in:
        specs["anchor/fold_in_mean.npy"] = ArraySpec("float32", (d,))
    return specs


def _map(sizes: BundleSizes) -> dict[str, ArraySpec]:
    if sizes.clusters is None:
        return {}
    return {POSITIONS: ArraySpec("float32", (sizes.n_items, 2)), CLUSTERS: ArraySpec("uint16", (sizes.n_items,))}


def check_projections(sizes: BundleSizes, arrays: Mapping[str, Array]) -> None:
    """InputError where a projection has another width than the neighbours that it gives."""
    for modality, _ in sizes.projections:
        name = f"{PROJECTION}/{modality}.npy"
        if modality not in sizes.neighbours:
            raise InputError(f"{name} has no neighbours/{modality}.npy; expected the neighbours that it gives")
        found, expected = arrays[name].shape[1], arrays[f"neighbours/{modality}.npy"].shape[1]
        if found != expected:
            raise InputError(f"{name} gives rows of {found}; expected {expected}, the width of the neighbours")


def check_array(name: str, array: Array, spec: ArraySpec) -> None:
    """InputError unless dtype and shape match the spec and the values are valid."""
    if not isinstance(array, np.ndarray) or not spec.matches(array):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{name} is {found}; expected {spec}")
    if name.startswith("neighbours/"):
        _check_neighbours(name, array)
    if array.dtype.kind == "f":
        _check_finite(name, array)
    if name.startswith("popularity/") and array.min() < 0:
        raise InputError(f"{name} has {array.min()}; expected no negative number")


def _strings(folder: str, n: int) -> dict[str, ArraySpec]:
    return {f"{folder}/bytes.npy": ArraySpec("uint8", (None,)), f"{folder}/offsets.npy": ArraySpec("int64", (n + 1,))}


def _id_table(folder: str, n: int) -> dict[str, ArraySpec]:
    return {
        **_strings(folder, n),
        f"{folder}/hashes.npy": ArraySpec("uint64", (n,)),
        f"{folder}/rows.npy": ArraySpec("int64", (n,)),
    }


def first_non_finite_row(array: Array) -> int | None:
    """The first row with a number that is not finite, or None."""
    for start in range(0, len(array), _CHUNK):
        finite = np.isfinite(array[start : start + _CHUNK])
        if not finite.all():
            return start + int(np.argwhere(~finite)[0][0])
    return None


def _check_finite(name: str, array: Array) -> None:
    row = first_non_finite_row(array)
    if row is not None:
        raise InputError(f"{name} has a value in row {row} that is not finite; expected finite numbers")


def _check_neighbours(name: str, array: Array) -> None:
    if not 1 <= array.shape[1] <= MAX_NEIGHBOUR_WIDTH:
        raise InputError(f"{name} is {array.shape[1]} wide; expected 1..{MAX_NEIGHBOUR_WIDTH}")
    for start in range(0, len(array), _CHUNK):
        norms = np.linalg.norm(array[start : start + _CHUNK].astype(np.float32), axis=1)
        wrong = np.flatnonzero((norms != 0) & ~(np.abs(norms - 1) < 1e-2))
        if len(wrong):
            row = int(wrong[0])
            raise InputError(f"{name} has norm {norms[row]:.4g} in row {start + row}; expected unit rows, or zero rows")
