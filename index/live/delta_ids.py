"""Which row an item id has in a live index, and what differs from the bundle. A row belongs to one id for good."""

from collections.abc import Iterable, Sequence

from index.ids import IdTable
from index.live.delta_log import Change


class DeltaIds:
    """The ids of a bundle's rows and of rows added since; `put` and `removed` are the rows that changed since."""

    def __init__(
        self,
        item_ids: IdTable,
        added: dict[str, int] | None = None,
        put: Iterable[int] = (),
        removed: Iterable[int] = (),
    ) -> None:
        self._item_ids = item_ids
        self.added = dict(added or {})
        self.put, self.removed = set(put), set(removed)
        self._id_of = {row: item_id for item_id, row in self.added.items()}

    def row(self, item_id: str) -> int | None:
        row = self._item_ids.row(item_id)
        return self.added.get(item_id) if row is None else row

    def item_id(self, row: int) -> str:
        return self._item_ids[row] if row < len(self._item_ids) else self._id_of[row]

    def rows_for(self, item_ids: Sequence[str], next_row: int) -> tuple[int, ...]:
        """The row of each of these different ids; an unknown one gets the next row from `next_row` on."""
        rows = []
        for item_id in item_ids:
            row = self.row(item_id)
            if row is None:
                row, next_row = next_row, next_row + 1
            rows.append(row)
        return tuple(rows)

    def apply(self, change: Change) -> None:
        """Remember a change's ids; their rows must be those of `rows_for`."""
        for item_id, row in zip(change.ids, change.rows, strict=True):
            if row >= len(self._item_ids):
                self.added[item_id], self._id_of[row] = row, item_id
        self.put = (self.put | set(change.rows)) - set(change.removed)
        self.removed = (self.removed - set(change.rows)) | set(change.removed)
