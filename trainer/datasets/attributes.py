"""Item attributes as JSON: what the service could not read back is left out and named."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from index.attribute_types import AttributeType, inferred_types
from index.json_values import json_flaw

SHOWN = 80  # characters of a value
AS_TEXT = (date, time, timedelta, Decimal)  # a datetime is a date


@dataclass(frozen=True)
class Attributes:
    """One JSON object an item, and what a person should know of values that were left out."""

    column: pl.Series
    counts: dict[str, int]
    notes: tuple[str, ...]
    types: Mapping[str, AttributeType] = field(default_factory=dict)


def as_attributes(item_ids: Iterable[str], records: Iterable[Mapping[str, Any]], source: str) -> Attributes:
    """The records without what is unknown (None, NaN) and without what JSON cannot hold, and the attributes' types.

    `source` names their file.
    """
    rows, left_out = [], []
    for item_id, record in zip(item_ids, records, strict=True):
        plain = {name: _plain(value) for name, value in record.items()}
        flaws = {name: flaw for name, value in plain.items() if (flaw := json_flaw(value))}
        rows.append({name: value for name, value in plain.items() if value is not None and name not in flaws})
        left_out += [f"{name} of item {item_id[:SHOWN]!r}, which {flaws[name]}" for name in flaws]
    column = pl.Series("attributes", [json.dumps(row, ensure_ascii=False) for row in rows], dtype=pl.String)
    types = inferred_types(rows)
    if not left_out:
        return Attributes(column, {}, (), types)
    note = f"{source}: {len(left_out):,} attribute values were left out; first {left_out[0]}"
    return Attributes(column, {"attribute_values_left_out": len(left_out)}, (note,), types)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN
        return None
    return str(value) if isinstance(value, AS_TEXT) else value
