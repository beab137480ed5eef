"""The content of a bundle in memory, and its validation before anything is written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from index.attribute_types import AttributeType
from index.errors import InputError
from index.gate_report import TOLERANCE
from index.ids import IdTable, PackedStrings
from index.invariants import fold_in_error, part_sum_error
from index.item_map import ItemMap, check_map
from index.json_values import json_flaw
from index.layout import PROJECTION, BundleSizes, check_array, check_projections, layout
from index.manifest import MODALITIES, PARTS, AnchorInfo, EncoderInfo
from index.recency import Recency
from index.validation import explained, problem

Array = np.ndarray[Any, Any]

_ROWS_AT_ONCE = 65_536  # checked and encoded in one step, which bounds the memory that this takes


@dataclass(frozen=True, eq=False)
class AnchorContent:
    """What predicts an item's embedding, its anchor, from its raw features alone.

    anchor = mean + sum over modalities m of unit(features_m - centers[m]) @ weights[m]; a row of zeros stays zero.
    item = (1 - l) · parts + l · rho · anchor,   l = kappa / (kappa + n_i)
    fold_in = fold_in_mean + sum of unit(features_m - centers[m]) @ fold_in_weights[m], for an item without interactions
    """

    mean: Array  # (d,) float32
    weights: Mapping[str, Array]  # each (width, d) float32
    centers: Mapping[str, Array]  # each (width,) float32: the mean of the features' columns
    kappa: float  # 0: no trained item is moved
    rho: float
    shortest: Mapping[str, float] = field(default_factory=dict)  # centred features up to this length are zero
    fold_in_mean: Array | None = None  # (d,) float32
    fold_in_weights: Mapping[str, Array] = field(default_factory=dict)  # each (width, d) float32, or none at all

    @property
    def widths(self) -> dict[str, int]:
        """The width of each modality's features, in the order of MODALITIES."""
        return {modality: len(self.centers[modality]) for modality in MODALITIES if modality in self.centers}

    @property
    def info(self) -> AnchorInfo:
        """Its record in the manifest; ValidationError where it is invalid."""
        fields = {name: getattr(self, name) for name in ("kappa", "rho", "widths", "shortest")}
        return AnchorInfo.model_validate({**fields, "fold_in": self.fold_in_mean is not None})


@dataclass(frozen=True, eq=False)
class BundleContent:
    """A fitted model in arrays. Row r of a user array belongs to user_ids[r], likewise for items.

    user_embeddings[u] == user_own[u] + (sum of w)^(-1/2) · sum of w · fold_in over u's seen items, oldest first, with
    the weights w of `recency`, and item_embeddings == sum of item_parts, both to 1e-5; score = inner product.
    """

    model: str
    config: Mapping[str, Any]
    data_fingerprint: str
    seed: int
    metrics: Mapping[str, Mapping[str, float]]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    user_embeddings: Array  # (n_users, d) float32
    item_embeddings: Array  # (n_items, d) float32
    item_parts: Mapping[str, Array]  # each (n_items, d) float32
    fold_in: Array  # (n_items, d) float32
    user_own: Array | None  # (n_users, d) float32; None: no user has an own term
    seen_offsets: Array  # (n_users + 1,) int64
    seen_items: Array  # (n_interactions,) int32, each user's rows oldest first, none twice
    popularity_count: Array  # (n_items,) int64
    popularity_trend: Array  # (n_items,) float32
    neighbours: Mapping[str, Array]  # each (n_items, <= 256) float16, unit rows; a zero row: nothing known
    items: Sequence[Mapping[str, Any]]
    recency: Recency | None = None  # None: all past items count alike
    anchor: AnchorContent | None = None
    projections: Mapping[str, Array] = field(default_factory=dict)  # (width, that of the neighbours) float32
    fold_in_exact: bool = True  # whether fold-in gives a user the vector that the model itself would give
    events_position: int | None = None  # of the last event of the service's log that training included
    attribute_types: Mapping[str, AttributeType] = field(default_factory=dict)
    encoders: Mapping[str, EncoderInfo] = field(default_factory=dict)  # by modality, of the raw content of items
    map: ItemMap | None = None  # of the items, in two dimensions
    forgotten: Sequence[str] = ()  # receipts of the people whom training left out on request

    @property
    def sizes(self) -> BundleSizes:
        """The sizes that determine every array's shape."""
        return BundleSizes(
            n_users=len(self.user_ids),
            n_items=len(self.item_ids),
            n_interactions=len(self.seen_items),
            embedding_size=self.item_embeddings.shape[-1],
            parts=tuple(part for part in PARTS if part in self.item_parts),
            neighbours=tuple(modality for modality in MODALITIES if modality in self.neighbours),
            user_own=self.user_own is not None,
            anchor_widths=None if self.anchor is None else tuple(self.anchor.widths.items()),
            anchor_fold_in=self.anchor is not None and self.anchor.fold_in_mean is not None,
            projections=tuple((name, len(array)) for name, array in self.projections.items()),
            clusters=None if self.map is None else self.map.clusters,
        )

    def seen(self, user_row: int) -> Array:
        """The item rows that the user had in training, oldest first."""
        return self.seen_items[self.seen_offsets[user_row] : self.seen_offsets[user_row + 1]]


class _Item(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    title: str
    category: str
    attributes: dict[str, Any]
    image: str | None


_ITEMS = TypeAdapter(list[_Item])


def checked_arrays(content: BundleContent) -> dict[str, Array]:
    """Validate the content and return every array of the bundle by file name; InputError where it is invalid."""
    _check_names("item_parts", content.item_parts, PARTS)
    _check_names("neighbours", content.neighbours, MODALITIES)
    _check_names("projections", content.projections, MODALITIES)
    if content.anchor is not None:
        _check_anchor(content.anchor, content.item_parts)
    if content.map is not None:
        _check_map_info(content.map)
    sizes = content.sizes
    _check_sizes(sizes, content)
    arrays = dict(_given_arrays(content))
    expected = layout(sizes)
    for name, array in arrays.items():
        check_array(name, array, expected[name])
    check_projections(sizes, arrays)
    check_map(sizes.clusters, arrays)
    _check_seen(content, sizes)
    _check_invariants(content)
    return arrays | _derived_arrays(content, sizes)


def _given_arrays(content: BundleContent) -> Iterator[tuple[str, Array]]:
    for name in ("user_embeddings", "item_embeddings", "fold_in"):
        yield f"{name}.npy", getattr(content, name)
    if content.user_own is not None:
        yield "user_own.npy", content.user_own
    if content.anchor is not None:
        yield from anchor_arrays(content.anchor)
    yield from ((f"item_parts/{part}.npy", array) for part, array in content.item_parts.items())
    yield from ((f"neighbours/{modality}.npy", array) for modality, array in content.neighbours.items())
    yield from ((f"{PROJECTION}/{modality}.npy", array) for modality, array in content.projections.items())
    if content.map is not None:
        yield from content.map.arrays().items()
    yield "seen/user_offsets.npy", content.seen_offsets
    yield "seen/user_items.npy", content.seen_items
    yield "popularity/count.npy", content.popularity_count
    yield "popularity/trend.npy", content.popularity_trend


def anchor_arrays(anchor: AnchorContent) -> Iterator[tuple[str, Array]]:
    """The arrays of an anchor by file name."""
    yield "anchor/mean.npy", anchor.mean
    yield from ((f"anchor/{modality}_weights.npy", array) for modality, array in anchor.weights.items())
    yield from ((f"anchor/{modality}_center.npy", array) for modality, array in anchor.centers.items())
    if anchor.fold_in_mean is not None:
        yield "anchor/fold_in_mean.npy", anchor.fold_in_mean
    yield from ((f"anchor/fold_in_{modality}_weights.npy", rows) for modality, rows in anchor.fold_in_weights.items())


def _derived_arrays(content: BundleContent, sizes: BundleSizes) -> dict[str, Array]:
    tables = {
        "user_ids": IdTable.build(content.user_ids, "user_id").arrays(),
        "item_ids": IdTable.build(content.item_ids, "item_id").arrays(),
        "items": PackedStrings.joined(_item_records(content.items, content.item_ids)).arrays(),
    }
    packed = {f"{table}/{stem}.npy": array for table, arrays in tables.items() for stem, array in arrays.items()}
    item_offsets, item_users = transpose_csr(content.seen_offsets, content.seen_items, sizes.n_items)
    return packed | {"seen/item_offsets.npy": item_offsets, "seen/item_users.npy": item_users}


def transpose_csr(offsets: Array, columns: Array, n_columns: int) -> tuple[Array, Array]:
    """The CSR transpose, pattern only: (n_columns + 1,) int64 offsets and int32 rows, ascending within a column."""
    rows = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
    counts = np.bincount(columns, minlength=n_columns)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return starts, rows[np.argsort(columns, kind="stable")]


def _item_records(items: Sequence[Mapping[str, Any]], item_ids: Sequence[str]) -> Iterator[PackedStrings]:
    """The records as JSON, some thousand at once: all of them as Python's objects would take far more memory."""
    for start in range(0, len(items), _ROWS_AT_ONCE):
        rows = range(start, min(start + _ROWS_AT_ONCE, len(items)))
        yield PackedStrings.pack(_some_records([items[row] for row in rows], [item_ids[row] for row in rows]))


def _some_records(items: Sequence[Mapping[str, Any]], item_ids: Sequence[str]) -> list[bytes]:
    try:
        records = _ITEMS.validate_python([dict(item) for item in items])
    except ValidationError as error:
        first = error.errors()[0]
        row, *field = first["loc"]
        raise InputError(f"items: {item_ids[int(row)]!r}: {problem(first, field)}") from error
    for item_id, record in zip(item_ids, records, strict=True):
        if flaw := json_flaw(dict(record)):
            names = [name for name, value in record["attributes"].items() if json_flaw(value)]
            where = f"attribute {names[0]!r}" if names else "title, category, image or an attribute's name"
            raise InputError(f"items: {item_id!r}: {where} {flaw}; expected what JSON can hold")
    return [json.dumps(record, ensure_ascii=False, allow_nan=False).encode() for record in records]


def _check_names(what: str, given: Mapping[str, Array], known: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{what} has {', '.join(unknown)}; expected names among {', '.join(known)}")


def _check_anchor(anchor: AnchorContent, parts: Mapping[str, Array]) -> None:
    _check_names("anchor.weights", anchor.weights, MODALITIES)
    if anchor.weights.keys() != anchor.centers.keys():
        found = f"weights of {', '.join(anchor.weights)} and centers of {', '.join(anchor.centers)}"
        raise InputError(f"anchor has {found}; expected both of the same modalities")
    if anchor.fold_in_weights.keys() != (set() if anchor.fold_in_mean is None else anchor.weights.keys()):
        found = f"fold_in_weights of {', '.join(anchor.fold_in_weights) or 'nothing'}"
        raise InputError(f"anchor has {found}; expected those of {', '.join(anchor.weights)}, with fold_in_mean")
    if anchor.kappa > 0 and "anchor" not in parts:
        raise InputError("item_parts has no anchor; expected that part in a bundle whose items move towards an anchor")
    try:
        _ = anchor.info
    except ValidationError as error:
        raise InputError(f"anchor: {explained(error)}") from error


def _check_map_info(item_map: ItemMap) -> None:
    try:
        _ = item_map.info
    except ValidationError as error:
        raise InputError(f"map: {explained(error)}") from error


def _check_sizes(sizes: BundleSizes, content: BundleContent) -> None:
    for name in ("n_users", "n_items", "embedding_size"):
        if getattr(sizes, name) < 1:
            raise InputError(f"{name} is {getattr(sizes, name)}; expected at least 1")
    if len(content.items) != sizes.n_items:
        raise InputError(f"items has {len(content.items)} records; expected one for each of {sizes.n_items} item ids")
    if not sizes.parts:
        raise InputError(f"item_parts is empty; expected at least one of {', '.join(PARTS)}")


def _check_seen(content: BundleContent, sizes: BundleSizes) -> None:
    offsets, items = content.seen_offsets, content.seen_items
    if offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
        raise InputError(
            f"seen_offsets run from {offsets[0]} to {offsets[-1]}; "
            f"expected an ascending run from 0 to {len(items)}, the length of seen_items"
        )
    if len(items) and (items.min() < 0 or items.max() >= sizes.n_items):
        raise InputError(f"seen_items has rows {items.min()}..{items.max()}; expected 0..{sizes.n_items - 1}")
    for start in range(0, sizes.n_users, _ROWS_AT_ONCE):
        _check_none_twice(offsets[start : start + _ROWS_AT_ONCE + 1], items, start, sizes.n_items)


def _check_none_twice(offsets: Array, items: Array, first_user: int, n_items: int) -> None:
    users = np.repeat(np.arange(first_user, first_user + len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    pairs = np.sort(users * n_items + items[offsets[0] : offsets[-1]])
    twice = np.flatnonzero(pairs[1:] == pairs[:-1])
    if len(twice):
        user_row, item_row = divmod(int(pairs[twice[0]]), n_items)
        raise InputError(f"seen_items names item row {item_row} twice for user row {user_row}; expected it once")


def _check_invariants(content: BundleContent) -> None:
    error = part_sum_error(content.item_embeddings, content.item_parts)
    if error > TOLERANCE:
        raise InputError(f"item_parts sum to item_embeddings only to {error:.2g}; expected {TOLERANCE:g}, relative")
    error = fold_in_error(
        content.user_embeddings,
        content.user_own,
        content.fold_in,
        content.seen_offsets,
        content.seen_items,
        recency=content.recency,
    )
    if error > TOLERANCE:
        raise InputError(f"fold_in and user_own give user_embeddings to {error:.2g}; expected {TOLERANCE:g}, relative")
