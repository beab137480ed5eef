"""Opens and verifies a bundle, the folder that passes from trainer to service.

docs/bundle.md describes the files. A bundle is immutable: the manifest has the sum of every other file, and the bundle
id a digest of the manifest.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from index.content import AnchorContent, BundleContent, anchor_arrays
from index.errors import BundleError, InputError
from index.flat import FLAT, flat_file_size
from index.ids import IdTable, PackedStrings
from index.item_index import ItemIndex
from index.item_map import ItemMap, check_map, map_of
from index.layout import PROJECTION, BundleSizes, check_projections, layout
from index.manifest import INDEX, MANIFEST, AnchorInfo, Manifest, check_file_names, read_manifest
from index.probing.probed_indexes import NO_RECORD, ProbedIndexes
from index.ranges import check_ranges, check_size
from index.reading import map_array, open_file
from index.recency import Recency
from index.storage import files_under, sha256_of
from index.tables import Table, stored_arrays, table_of
from index.writing import write_bundle

__all__ = ["Bundle", "BundleContent", "BundleError", "Manifest", "open_bundle", "read_manifest", "write_bundle"]

Array = np.ndarray[Any, Any]

NAMED_FILES = 5  # in a message


@dataclass(frozen=True, eq=False)
class Bundle:
    """An open bundle. Its arrays are read-only memory maps (or in memory) and have the names of BundleContent."""

    path: Path
    manifest: Manifest
    user_ids: IdTable
    item_ids: IdTable
    user_embeddings: Table  # (n_users, d)
    item_embeddings: Array  # (n_items, d)
    item_parts: Mapping[str, Table]  # each (n_items, d)
    fold_in: Table  # (n_items, d)
    user_own: Table  # (n_users, d); zeros that take no memory where no user has an own term
    seen_offsets: Array  # (n_users + 1,)
    seen_items: Array  # (n_interactions,)
    seen_item_offsets: Array  # (n_items + 1,)
    seen_item_users: Array  # (n_interactions,)
    popularity_count: Array  # (n_items,)
    popularity_trend: Array  # (n_items,)
    neighbours: Mapping[str, Array]  # each (n_items, width) float16
    items: PackedStrings
    recency: Recency | None = None  # None: all past items count alike
    anchor: AnchorContent | None = None
    projections: Mapping[str, Array] = field(default_factory=dict)  # by modality, from raw features to neighbours
    map: ItemMap | None = None  # of the items, in two dimensions
    verified: bool = False  # whether all sums were checked
    mapped: bool = True  # False: the arrays are in memory
    probed: ProbedIndexes = NO_RECORD  # the index files that are known to be sound
    largest_norm: float | None = None  # of the item embeddings, where it is known
    file_bytes: int = 0  # of all files but the manifest
    shared_bytes: int = 0  # of them, those of which other open bundles have the arrays, too

    @property
    def bundle_id(self) -> str:
        return self.manifest.bundle_id

    def seen(self, user_row: int) -> Array:
        """The item rows that the user had in training, oldest first."""
        return self.seen_items[self.seen_offsets[user_row] : self.seen_offsets[user_row + 1]]

    def users_of(self, item_row: int) -> Array:
        """The user rows that had the item in training, ascending."""
        return self.seen_item_users[self.seen_item_offsets[item_row] : self.seen_item_offsets[item_row + 1]]

    def parts_of(self, item_rows: Array) -> dict[str, Array]:
        """The parts of these items by name, each (k, d), with sum `item_embeddings`.

        Of rounded tables, the sum of all roundings is spread evenly over the parts.
        """
        parts: dict[str, Array] = {name: part[item_rows] for name, part in self.item_parts.items()}
        if self.manifest.tables.precision != "float32":
            missing = self.item_embeddings[item_rows] - sum(parts.values())
            parts = {name: part + missing / len(parts) for name, part in parts.items()}
        return parts

    def item(self, item_row: int) -> dict[str, Any]:
        """The item's metadata: title, category, attributes, image."""
        record: dict[str, Any] = json.loads(self.item_json(item_row))
        return record

    def item_json(self, item_row: int) -> bytes:
        """The item's metadata as stored JSON, for responses that pass it through unparsed."""
        return self.items[item_row]

    def index(self) -> ItemIndex:
        """The search index, memory-mapped where bundle and FAISS allow; it scores by the bundle's embeddings.

        Opened once. BundleError where its file is damaged: a file could take any amount of memory or end the process,
        so FAISS reads none whose sum is wrong, and none of another process that was not probed (index/probing/). A flat
        index needs no file: it is made of the item embeddings.
        """
        return self._index

    @cached_property
    def _index(self) -> ItemIndex:
        with damage_as_bundle_error():
            file, sizes = self.path / INDEX, self.manifest.sizes
            if self.manifest.index.factory == FLAT:
                _check_flat_file(file, sizes)
                return ItemIndex.flat(self.item_embeddings, self.largest_norm)
            expected = self.manifest.files[INDEX]
            if not self.verified:
                check_size(str(file), file.stat().st_size, sizes)
                if (found := sha256_of(file)) != expected:
                    raise BundleError(f"{file} is no readable FAISS index: it has sha256 {found}; expected {expected}")
            self.probed.check(file, expected, sizes.n_items)
            settings = self.manifest.index.settings
            return ItemIndex.read(
                file, self.item_embeddings, mapped=self.mapped, settings=settings, norm=self.largest_norm
            )

    def index_of(self, vectors: Array) -> ItemIndex:
        """An index of other vectors (n, d), of the kind and with the search settings of the bundle's own.

        What a LiveIndex over the bundle builds. InputError where the kind does not fit the vectors.
        """
        return ItemIndex.build(vectors, self.manifest.index.factory).with_settings(self.manifest.index.settings)

    def arrays(self) -> dict[str, Array]:
        """Every array by its file name: first what any request reads, then what grows with users, then the rest."""
        tables = {"user_ids": self.user_ids, "item_ids": self.item_ids}
        ids = {f"{name}/{stem}.npy": array for name, table in tables.items() for stem, array in table.arrays().items()}
        parts = [stored_arrays(f"item_parts/{name}.npy", part) for name, part in self.item_parts.items()]
        return {
            "item_embeddings.npy": self.item_embeddings,
            **stored_arrays("fold_in.npy", self.fold_in),
            **{name: array for part in parts for name, array in part.items()},
            **{f"items/{stem}.npy": array for stem, array in self.items.arrays().items()},
            "popularity/count.npy": self.popularity_count,
            "popularity/trend.npy": self.popularity_trend,
            **{f"neighbours/{name}.npy": rows for name, rows in self.neighbours.items()},
            **ids,
            "seen/user_offsets.npy": self.seen_offsets,
            **stored_arrays("user_embeddings.npy", self.user_embeddings),
            "seen/user_items.npy": self.seen_items,
            **(stored_arrays("user_own.npy", self.user_own) if self.manifest.user_own else {}),
            "seen/item_offsets.npy": self.seen_item_offsets,
            "seen/item_users.npy": self.seen_item_users,
            **(dict(anchor_arrays(self.anchor)) if self.anchor is not None else {}),
            **{f"{PROJECTION}/{name}.npy": rows for name, rows in self.projections.items()},
            **({} if self.map is None else self.map.arrays()),
        }


def _check_flat_file(file: Path, sizes: BundleSizes) -> None:
    with open_file(file) as opened:
        found, expected = os.fstat(opened.fileno()).st_size, flat_file_size(sizes.n_items, sizes.embedding_size)
    if found != expected:
        raise BundleError(f"{file} is no readable FAISS index: it has {found:,} bytes; expected {expected:,}")


def open_bundle(
    path: Path,
    *,
    verify: bool = True,
    mapped: bool = True,
    known: bool = False,
    probed: ProbedIndexes = NO_RECORD,
    largest_norm: float | None = None,
    shared_with: Sequence[Bundle] = (),
) -> Bundle:
    """Open a bundle; BundleError where a file differs from what the manifest says.

    Format, file list, dtypes, shapes, sizes and ranges are always checked; with verify also every file's sum, which
    reads all files. mapped=False reads all arrays into memory, so that later damage of the files does not matter.
    known: the caller vouches that exactly these files were verified before, so that neither sums nor ranges are read.
    probed: where is recorded which index files are sound. largest_norm: of the item embeddings, where it is known.
    shared_with: open bundles, whose arrays are used where their files equal checked files of this bundle, so that
    memory holds them once. A verified bundle shares with verified ones only, a mapped one with mapped ones. The arrays
    outlive the bundles that they come from, and the folders of those.
    """
    with damage_as_bundle_error():
        manifest = read_manifest(path)
        _check_files(path, manifest)
        if verify and not known:
            check_sums(path, manifest)
        arrays = {name: map_array(path / name) for name in manifest.files if name.endswith(".npy")}
        _check_layout(path, manifest, arrays)
        if not known:
            check_ranges(path, manifest.sizes, arrays)
            check_map(manifest.sizes.clusters, arrays)
        verified = verify or known
        others = [one for one in shared_with if one.mapped == mapped and (one.verified or not verified)]
        shared = _shared_arrays(manifest, arrays, others)
        arrays = {
            name: shared[name] if name in shared else array if mapped else _in_memory(array)
            for name, array in arrays.items()
        }
        sizes = {name: (path / name).stat().st_size for name in manifest.files}
        return replace(
            _bundle(path, manifest, arrays, verified=verified, mapped=mapped),
            probed=probed,
            largest_norm=largest_norm,
            file_bytes=sum(sizes.values()),
            shared_bytes=sum(sizes[name] for name in shared),
        )


@contextmanager
def damage_as_bundle_error() -> Iterator[None]:
    """Whatever reading a bundle's files raises becomes a BundleError."""
    try:
        yield
    except BundleError:
        raise
    except (InputError, OSError, MemoryError) as error:
        raise BundleError(str(error) or type(error).__name__) from error


def _check_files(path: Path, manifest: Manifest) -> None:
    check_file_names(manifest, str(path))
    expected, found = set(manifest.files), set(files_under(path)) - {MANIFEST}
    for wrong, what in ((expected - found, "lacks"), (found - expected, "has, beyond its manifest,")):
        if wrong:
            names = ", ".join(sorted(wrong)[:NAMED_FILES])
            raise BundleError(f"{path} {what} {names}; expected the manifest's files and no others")


def check_sums(path: Path, manifest: Manifest) -> None:
    """Read every file; BundleError on the first whose sum differs from the manifest's."""
    with damage_as_bundle_error():
        for name in manifest.files:
            check_size(str(path / name), (path / name).stat().st_size, manifest.sizes)
        for name, expected in manifest.files.items():
            if (found := sha256_of(path / name)) != expected:
                raise BundleError(
                    f"{path / name} has sha256 {found}; expected {expected}: the file is damaged or edited"
                )


def _check_layout(path: Path, manifest: Manifest, arrays: dict[str, Array]) -> None:
    for name, spec in layout(manifest.sizes).items():
        if not spec.matches(arrays[name]):
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise BundleError(f"{path / name} is {found}; expected {spec}")
    check_projections(manifest.sizes, arrays)


def _shared_arrays(manifest: Manifest, arrays: Mapping[str, Array], others: Sequence[Bundle]) -> dict[str, Array]:
    """The other bundles' arrays, by name, of files that are the same: by sum, dtype and shape."""
    shared: dict[str, Array] = {}
    for other in others:
        for name, array in other.arrays().items():
            if manifest.files.get(name) == other.manifest.files[name] and _alike(arrays[name], array):
                shared.setdefault(name, array)
    return shared


def _alike(one: Array, other: Array) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape)


def _in_memory(mapped: Array) -> Array:
    array = mapped.copy()
    array.flags.writeable = False
    return array


def _bundle(path: Path, manifest: Manifest, arrays: dict[str, Array], *, verified: bool, mapped: bool) -> Bundle:
    def below(folder: str) -> dict[str, Array]:
        return {Path(name).stem: array for name, array in arrays.items() if name.startswith(f"{folder}/")}

    seen, popularity, items = below("seen"), below("popularity"), below("items")
    return Bundle(
        path=path,
        manifest=manifest,
        user_ids=IdTable.from_arrays(below("user_ids")),
        item_ids=IdTable.from_arrays(below("item_ids")),
        user_embeddings=table_of("user_embeddings.npy", arrays),
        item_embeddings=arrays["item_embeddings.npy"],
        item_parts={part: table_of(f"item_parts/{part}.npy", arrays) for part in manifest.parts},
        fold_in=table_of("fold_in.npy", arrays),
        user_own=table_of("user_own.npy", arrays) if manifest.user_own else _no_own_terms(manifest),
        seen_offsets=seen["user_offsets"],
        seen_items=seen["user_items"],
        seen_item_offsets=seen["item_offsets"],
        seen_item_users=seen["item_users"],
        popularity_count=popularity["count"],
        popularity_trend=popularity["trend"],
        neighbours=below("neighbours"),
        items=PackedStrings(items["bytes"], items["offsets"]),
        recency=manifest.recency,
        anchor=None if manifest.anchor is None else _anchor(manifest.anchor, below("anchor")),
        projections=below(PROJECTION),
        map=None if manifest.map is None else map_of(manifest.map, arrays),
        verified=verified,
        mapped=mapped,
    )


def _no_own_terms(manifest: Manifest) -> Array:
    """Zeros (n_users, d), all of them one number in memory, read-only."""
    return np.broadcast_to(np.zeros(1, np.float32), (manifest.n_users, manifest.embedding_size))


def _anchor(info: AnchorInfo, arrays: dict[str, Array]) -> AnchorContent:
    return AnchorContent(
        mean=arrays["mean"],
        weights={modality: arrays[f"{modality}_weights"] for modality in info.widths},
        centers={modality: arrays[f"{modality}_center"] for modality in info.widths},
        kappa=info.kappa,
        rho=info.rho,
        shortest={modality: info.shortest.get(modality, 0.0) for modality in info.widths},
        fold_in_mean=arrays["fold_in_mean"] if info.fold_in else None,
        fold_in_weights={m: arrays[f"fold_in_{m}_weights"] for m in info.widths} if info.fold_in else {},
    )
