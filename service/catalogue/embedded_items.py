"""The rows of items that training never saw: which row each id has, and the vectors in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.content_path import ContentPath, ContentRows, Features
from index.manifest import PARTS
from index.ranking import largest_norm, unit_rows
from index.tables import Table
from service.catalogue.extended_table import ExtendedTable, Slots
from service.catalogue.living_bundle import LivingBundle, LivingIds, LivingRecords, as_array
from service.catalogue.living_items import EMBEDDINGS, FUSED, KNOWN, UNIT

Array = np.ndarray[Any, Any]

_FOLD_IN, _PART, _NEIGHBOURS = "fold_in", "parts/", "neighbours/"
_AT_ONCE = 512  # items embedded in one step
_SPARE = 64  # slots that may be unused before the used ones are copied


class EmbeddedItems:
    """The new items of one bundle; an id has one row for good. For one thread at a time, and views outlive changes."""

    def __init__(self, trained: Bundle, path: ContentPath) -> None:
        self._trained, self._path = trained, path
        self._n = len(trained.item_ids)
        nothing = path.rows([])
        self._parts = tuple(nothing.parts)
        self._slots = Slots(_tables(nothing))
        self._slot_of = np.empty(0, np.int64)  # of each new row
        self.slot_rows = np.empty(0, np.int64)
        self.norm = 0.0
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._popularity = trained.popularity_count, trained.popularity_trend

    def __len__(self) -> int:
        return len(self._names)

    def row(self, item_id: str) -> int | None:
        """The row of a new item; None where it has none yet."""
        return self._rows.get(item_id)

    def put(self, item_ids: Sequence[str], features: Sequence[Features]) -> None:
        """Give each of these distinct items a row, or other vectors in the row that it has."""
        for start in range(0, len(item_ids), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._put(item_ids[part], self._path.rows(features[part]))
        if len(self._slots) > 2 * len(self) + _SPARE:
            self._slots.keep(self._slot_of)
            self._slot_of = np.arange(len(self), dtype=np.int64)
            self.slot_rows = self._n + self._slot_of

    def _put(self, item_ids: Sequence[str], found: ContentRows) -> None:
        start = self._slots.append(_tables(found), len(item_ids))
        self.norm = max(self.norm, largest_norm(found.embeddings))
        for item_id in item_ids:
            if item_id not in self._rows:
                self._rows[item_id] = self._n + len(self._names)
                self._names.append(item_id)  # last: an id that is found has a name
        rows = np.array([self._rows[item_id] for item_id in item_ids], np.int64)
        places, slots = rows - self._n, np.arange(start, start + len(rows))
        slot_of = np.full(len(self), -1, np.int64)
        slot_of[: len(self._slot_of)] = self._slot_of
        slot_rows = np.concatenate([self.slot_rows, rows])
        replaced = slot_of[places]
        slot_rows[replaced[replaced >= 0]] = -1
        slot_of[places] = slots
        self._slot_of, self.slot_rows = slot_of, slot_rows  # new arrays: earlier views keep theirs

    def views(self) -> dict[str, Array]:
        """The tables of slots as they are."""
        return self._slots.views()

    def bundle(self, records: dict[int, bytes]) -> LivingBundle:
        """The bundle with the new items, and these records of new and changed ones."""
        trained, n_rows = self._trained, self._n + len(self)
        items = LivingRecords(trained.items.blob, trained.items.offsets, records, n_rows)
        if not len(self):
            return LivingBundle.over(trained, items=items)
        views = self.views()

        def table(base: Table, name: str) -> Array:
            return as_array(ExtendedTable(base, views[name], self._slot_of))

        count, trend = self._extended_popularity()
        return LivingBundle.over(
            trained,
            items=items,
            item_ids=LivingIds.of(trained.item_ids, self._rows, self._names),
            item_embeddings=table(trained.item_embeddings, EMBEDDINGS),
            item_parts={name: self._part(name, views) for name in PARTS if self._has_part(name)},
            fold_in=table(trained.fold_in, _FOLD_IN),
            neighbours={name: table(rows, f"{_NEIGHBOURS}{name}") for name, rows in trained.neighbours.items()},
            popularity_count=count,
            popularity_trend=trend,
        )

    def _has_part(self, name: str) -> bool:
        return name in self._trained.item_parts or name in self._parts

    def _part(self, name: str, views: dict[str, Array]) -> Array:
        """Zeros in the rows of trained or new items, where only the others have the part."""
        nothing = np.zeros((1, self._trained.item_embeddings.shape[1]), np.float32)
        trained = self._trained.item_parts.get(name)
        if trained is None:
            trained = np.broadcast_to(nothing, (self._n, nothing.shape[1]))
        if name not in self._parts:
            return as_array(ExtendedTable(trained, nothing, np.zeros_like(self._slot_of)))
        return as_array(ExtendedTable(trained, views[f"{_PART}{name}"], self._slot_of))

    def _extended_popularity(self) -> tuple[Array, Array]:
        n = self._n + len(self)
        count, trend = (
            one if len(one) == n else np.concatenate([one, np.zeros(n - len(one), one.dtype)])
            for one in self._popularity
        )
        self._popularity = count, trend
        return count, trend


def _tables(found: ContentRows) -> dict[str, Array]:
    """What is stored of items in slots."""
    units = {name: unit_rows(rows) for name, rows in found.neighbours.items()}
    return {
        EMBEDDINGS: found.embeddings,
        FUSED: unit_rows(found.embeddings),
        _FOLD_IN: found.fold_in,
        **{f"{_PART}{name}": rows for name, rows in found.parts.items()},
        **{f"{_NEIGHBOURS}{name}": rows for name, rows in found.neighbours.items()},
        **{f"{UNIT}{name}": rows for name, rows in units.items()},
        **{f"{KNOWN}{name}": np.asarray(rows.any(axis=1)) for name, rows in units.items()},
    }
