"""What every item has beside its attributes: whether it is available, and when it was created."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from service.ranking.filters.columns import BooleanColumn, Column, NumberColumn, replaced_values, time_of

Record = Mapping[str, Any]
Records = Mapping[int, Record | None]  # by row, as a bundle holds them; None for an item that is gone

AVAILABLE, CREATED_AT = "available", "created_at"


@dataclass(frozen=True, eq=False)
class OwnFields:
    """Both fields of all items. An item whose record does not say is available, and has no time."""

    available: BooleanColumn
    created_at: NumberColumn

    @classmethod
    def of_bundle(cls, n_rows: int, records: Records) -> "OwnFields":
        """The fields of a bundle's items, of which these records tell any."""
        available = BooleanColumn(np.ones(n_rows, np.int8))
        return cls(available, NumberColumn(np.full(n_rows, np.nan), "time")).replaced(n_rows, records)

    @staticmethod
    def known_of(record: Record) -> bool:
        """Whether the record tells a field that is not the default."""
        return not _available(record) or _created_at(record) is not None

    def replaced(self, n_rows: int, records: Records) -> "OwnFields":
        """The fields of n_rows items of which some have new records."""
        known = {row: int(_available(record)) for row, record in records.items()}
        available, values = self.available, replaced_values(self.available.values, n_rows, known, 1)
        if len(values) < n_rows:
            values = np.concatenate([values, np.ones(n_rows - len(values), np.int8)])
        if values is not available.values:
            available = replace(available, values=values)
        times = {row: None if record is None else _created_at(record) for row, record in records.items()}
        return OwnFields(available, self.created_at.replaced(n_rows, times))

    def added_to(self, columns: Mapping[str, Column]) -> Mapping[str, Column]:
        """The columns and these two; an attribute `available` that is not of true and false stands before ours."""
        held = columns.get(AVAILABLE)
        available = self.available if held is None or held.type == "boolean" else held
        return {**columns, AVAILABLE: available, CREATED_AT: self.created_at}


def _available(record: Record | None) -> bool:
    """Whether an item is available: by its own field, else by an attribute of that name."""
    if record is None:
        return False
    own = record.get(AVAILABLE, record["attributes"].get(AVAILABLE))
    return own if isinstance(own, bool) else True


def _created_at(record: Record) -> float | None:
    return time_of(record.get(CREATED_AT, record["attributes"].get(CREATED_AT)))
