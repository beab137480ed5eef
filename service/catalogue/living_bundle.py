"""A bundle with more items than it was written with, and with changed records: what ranking reads like any bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np

from index.bundle import Bundle
from index.ids import IdTable, PackedStrings
from index.item_index import ItemIndex
from service.catalogue.extended_table import ExtendedTable

Array = np.ndarray[Any, Any]

_NO_ROWS = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class LivingIds(IdTable):
    """The ids of a bundle's rows, and of rows behind them.

    `added` and `names` may know more ids, of rows that later bundles have: an id gets its row once.
    """

    added: Mapping[str, int]
    names: Sequence[str]  # of the rows behind the bundle's
    n_added: int

    @classmethod
    def of(cls, ids: IdTable, added: Mapping[str, int], names: Sequence[str]) -> "LivingIds":
        """The ids that there are now."""
        return cls(ids.strings, ids.hashes, ids.hash_rows, added, names, len(names))

    def __len__(self) -> int:
        return len(self.strings) + self.n_added

    def __getitem__(self, row: int) -> str:
        n = len(self.strings)
        if row >= len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return super().__getitem__(row) if row < n else self.names[row - n]

    def row(self, outside_id: str) -> int | None:
        """The row of an id, or None where the id is unknown."""
        added = self.added.get(outside_id)
        if added is None:
            return super().row(outside_id)
        return added if added < len(self) else None


@dataclass(frozen=True, eq=False)
class LivingRecords(PackedStrings):
    """The records of a bundle's items, of which some are changed or new."""

    changed: Mapping[int, bytes]
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, row: int) -> bytes:
        found = self.changed.get(row)
        return super().__getitem__(row) if found is None else found


@dataclass(frozen=True, eq=False)
class LivingBundle(Bundle):
    """A bundle whose rows from `manifest.n_items` on are items that training never saw."""

    trained: Bundle | None = None

    @classmethod
    def over(cls, trained: Bundle, **changes: Any) -> "LivingBundle":
        """The bundle with these fields changed."""
        kept = {one.name: getattr(trained, one.name) for one in fields(Bundle)}
        return cls(**(kept | changes), trained=trained)

    @property
    def base(self) -> Bundle:
        """The bundle as it was written."""
        assert self.trained is not None
        return self.trained

    def users_of(self, item_row: int) -> Array:
        """The user rows that had the item in training, ascending; none for a new item."""
        return self.base.users_of(item_row) if item_row < self.manifest.n_items else _NO_ROWS

    def parts_of(self, item_rows: Array) -> dict[str, Array]:
        """As of any bundle; trained items have nothing in a part that only new ones have."""
        old = item_rows < self.manifest.n_items
        trained = self.base.parts_of(item_rows[old])
        parts = {}
        for name, part in self.item_parts.items():
            rows = np.zeros((len(item_rows), part.shape[1]), np.float32)
            rows[~old] = part[item_rows[~old]]
            if name in trained:
                rows[old] = trained[name]
            parts[name] = rows
        return parts

    def index(self) -> ItemIndex:
        """The index of the trained items alone."""
        return self.base.index()

    def arrays(self) -> dict[str, Array]:
        """The arrays of the files."""
        return self.base.arrays()


def as_array(table: ExtendedTable) -> Array:
    """The table where an array is expected that is only read by row, slice or rows."""
    return cast(Array, table)
