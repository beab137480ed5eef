"""What a bundle says of an item that training never saw, from the item's raw features alone (docs/bundle.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from index.bundle import Bundle
from index.content import AnchorContent
from index.errors import InputError
from index.layout import MAX_NEIGHBOUR_WIDTH
from index.manifest import MODALITIES
from index.ranking import unit_rows

Array = np.ndarray[Any, Any]
Features: TypeAlias = Mapping[Any, Sequence[float]]  # by modality: literals and other texts

LARGEST = 1e18  # the square of a larger number is infinite in float32
_MEAN_PART = "anchor"  # where the mean goes, which neither words nor looks add
_FITTED_ON = 65_536  # items that the fallback for fold_in is fitted on
_PENALTY = 1e-3  # of that fit, relative to the mean eigenvalue


@dataclass(frozen=True, eq=False)
class ContentRows:
    """The rows of n items, as the tables of the bundle would have them."""

    embeddings: Array  # (n, d) float32
    parts: Mapping[str, Array]  # each (n, d) float32, with sum `embeddings`
    fold_in: Array  # (n, d) float32
    neighbours: Mapping[str, Array]  # of each modality of the bundle (n, width) float16; a zero row: nothing known

    def __len__(self) -> int:
        return len(self.embeddings)


class ContentPath:
    """Predicts the rows of items from features. Safe from several threads at once.

    `weight` is a factor on embeddings, and so on scores; what an item adds to a user's vector stays as it is.
    """

    def __init__(self, bundle: Bundle, anchor: AnchorContent, weight: float = 1.0) -> None:
        self._bundle = bundle
        self._anchor = anchor
        self._weight = np.float32(weight)
        self._projections = {m: bundle.projections.get(m) for m in bundle.neighbours if _is_reproducible(bundle, m)}

    @classmethod
    def of(cls, bundle: Bundle, weight: float = 1.0) -> "ContentPath | None":
        """The content path of a bundle; None where the bundle has no arrays that predict embeddings."""
        return None if bundle.anchor is None else cls(bundle, bundle.anchor, weight)

    @cached_property
    def widths(self) -> dict[str, int]:
        """The width of the features of each modality that is of use."""
        return {m: width for m in MODALITIES if (width := self._width(m)) is not None}

    def _width(self, modality: str) -> int | None:
        if modality in self._anchor.widths:
            return self._anchor.widths[modality]
        if modality not in self._projections:
            return None
        projection = self._projections[modality]
        return self._bundle.neighbours[modality].shape[1] if projection is None else len(projection)

    @property
    def needed(self) -> tuple[str, ...]:
        """The modalities of which an item must have one."""
        return tuple(self._anchor.widths)

    def knows(self, features: Features) -> bool:
        """Whether the features give an embedding: one of the modalities that predict it is there."""
        return any(modality in features for modality in self._anchor.widths)

    def problem(self, features: Features) -> str | None:
        """What is wrong with the features of an item; None where nothing is."""
        for modality, values in features.items():
            expected = self.widths.get(modality)
            if expected is not None and len(values) != expected:
                return f"features.{modality} has {len(values)} numbers; expected {expected}, as in training"
            if max(map(abs, values), default=0.0) > LARGEST:
                return f"features.{modality} has a number beyond {LARGEST:g}; expected smaller ones"
        return None

    def rows(self, items: Sequence[Features]) -> ContentRows:
        """The rows of items, of each of which the features are known and without a problem; else InputError.

        One item and many get the same rows, to the bit: replicas that take items in at other times agree.
        """
        for features in items:
            if problem := self.problem(features):
                raise InputError(problem)
            if not self.knows(features):
                raise InputError(f"features of {', '.join(features) or 'nothing'}; expected {' or '.join(self.needed)}")
        unit = {modality: self._centred(modality, items) for modality in self._anchor.widths}  # each (n, width)
        parts = self._parts(unit, len(items))
        embeddings = np.zeros_like(parts[_MEAN_PART])
        for part in parts.values():
            embeddings += part
        return ContentRows(embeddings, parts, self._fold_in(unit, embeddings), self._neighbours(items))

    def _parts(self, unit: Mapping[str, Array], n: int) -> dict[str, Array]:
        """What each modality adds, and the mean."""
        rho, anchor = np.float32(self._anchor.rho) * self._weight, self._anchor
        parts = {modality: rho * _times(rows, anchor.weights[modality]) for modality, rows in unit.items()}
        return parts | {_MEAN_PART: np.repeat(rho * anchor.mean[None], n, axis=0)}

    def _fold_in(self, unit: Mapping[str, Array], embeddings: Array) -> Array:
        anchor = self._anchor
        if anchor.fold_in_mean is None:
            return _times(embeddings / self._weight, self._fold_in_of_embeddings)
        total = np.repeat(anchor.fold_in_mean[None], len(embeddings), axis=0)
        for modality, rows in unit.items():
            total += _times(rows, anchor.fold_in_weights[modality])
        return total

    @cached_property
    def _fold_in_of_embeddings(self) -> Array:
        """(d, d) what maps embeddings to rows of fold_in best, for bundles that have no arrays for it."""
        bundle = self._bundle
        some = np.unique(np.linspace(0, len(bundle.item_embeddings) - 1, _FITTED_ON).astype(np.int64))
        items, fold_in = bundle.item_embeddings[some].astype(np.float64), bundle.fold_in[some].astype(np.float64)
        normal = items.T @ items
        normal[np.diag_indices_from(normal)] += _PENALTY * max(np.trace(normal) / len(normal), np.finfo(float).tiny)
        return np.linalg.solve(normal, items.T @ fold_in).astype(np.float32)

    def _centred(self, modality: str, items: Sequence[Features]) -> Array:
        """Features less the mean of training, as rows of unit length (n, width); zeros where they say nothing."""
        rows, given = _stacked(modality, items, self._anchor.widths[modality])
        rows -= self._anchor.centers[modality]
        lengths = np.linalg.norm(rows, axis=1)
        rows[~given | (lengths <= self._anchor.shortest.get(modality, 0.0))] = 0
        return unit_rows(rows)

    def _neighbours(self, items: Sequence[Features]) -> dict[str, Array]:
        found = {}
        for modality, stored in self._bundle.neighbours.items():
            if modality not in self._projections:
                found[modality] = np.zeros((len(items), stored.shape[1]), np.float16)
                continue
            projection = self._projections[modality]
            rows = unit_rows(_stacked(modality, items, self.widths[modality])[0])
            found[modality] = (rows if projection is None else unit_rows(_times(rows, projection))).astype(np.float16)
        return found


def _is_reproducible(bundle: Bundle, modality: str) -> bool:
    """Whether the neighbours of the modality are the features themselves, or a projection that the bundle has."""
    if modality in bundle.projections:
        return True
    width = int(bundle.neighbours[modality].shape[1])
    if bundle.anchor is not None and modality in bundle.anchor.widths:
        return bundle.anchor.widths[modality] == width
    return width < MAX_NEIGHBOUR_WIDTH or bundle.manifest.format >= 4  # older formats do not say what was projected


def _times(rows: Array, weights: Array) -> Array:
    """The product (n, d), a row at a time: BLAS rounds a product of matrices differently with the number of rows."""
    product = np.empty((len(rows), weights.shape[1]), np.float32)
    for place, row in enumerate(rows):
        np.matmul(row, weights, out=product[place])
    return product


def _stacked(modality: str, items: Sequence[Features], width: int) -> tuple[Array, Array]:
    """The features (n, width) float32, zeros where an item has none, and which items have some (n,)."""
    rows, given = np.zeros((len(items), width), np.float32), np.zeros(len(items), np.bool_)
    for place, features in enumerate(items):
        if modality in features:
            rows[place], given[place] = features[modality], True
    return rows, given
