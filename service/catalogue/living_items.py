"""A state of the living items of one bundle, which never changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.live.delta import Delta
from service.catalogue.living_bundle import LivingBundle

Array = np.ndarray[Any, Any]
Record = Mapping[str, Any]

EMBEDDINGS = "embeddings"  # the tables of slots: what is searched for users,
FUSED = "fused"  # the same as unit rows,
UNIT, KNOWN = "unit/", "known/"  # the unit rows of each modality's neighbours, and which of them are not zero
_UNIT_NORM = 1.0 + 1e-3


@dataclass(frozen=True, eq=False)
class LivingItems:
    """The bundle with its living items, and what of them changed since the state before."""

    bundle: LivingBundle
    records: Mapping[int, bytes]  # of new and changed items by row
    closed: Array  # ascending rows that no list may show: deleted, unavailable, or without a vector now
    changed_records: Mapping[int, Record | None]  # by row, with `available` and `created_at`; None: deleted
    changed_ids: tuple[str, ...]  # whose rows are new or have other vectors
    views: Mapping[str, Array]  # each (n_slots, ...)
    slot_rows: Array  # (n_slots,) the row of each slot, -1 where it was replaced
    norm: float  # at least the largest of the new embeddings

    @property
    def n_trained(self) -> int:
        """The rows that the bundle was written with."""
        return self.bundle.manifest.n_items

    def delta(self) -> Delta:
        """The new items as they are searched for users."""
        return Delta(self._view(EMBEDDINGS), self.slot_rows, self.norm)

    def delta_of(self, space: str) -> Delta:
        """The new items in a space of similar items; those without a vector there are in no slot."""
        if space == FUSED:
            return Delta(self._view(FUSED), self.slot_rows, _UNIT_NORM)
        known = self.views.get(f"{KNOWN}{space}")
        if known is None:  # the ID part, which no new item has
            return Delta(np.empty((0, 1), np.float32), np.empty(0, np.int64), 0.0)
        return Delta(self._view(f"{UNIT}{space}"), np.where(known, self.slot_rows, -1), _UNIT_NORM)

    def _view(self, name: str) -> Array:
        return self.views[name] if len(self.slot_rows) else np.empty((0, 1), np.float32)
