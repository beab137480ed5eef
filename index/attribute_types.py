"""The types of item attributes: inferred once from values, and checked from then on.

An attribute's value is JSON: text, a number, true or false, or a list of texts. A time is text in ISO 8601 form, a day
(2026-11-29) or a moment (2026-11-29T21:40:00Z); without a zone it is UTC.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from index.json_values import LARGEST, SMALLEST

AttributeType = Literal["string", "list", "number", "boolean", "time"]
ATTRIBUTE_TYPES: tuple[AttributeType, ...] = get_args(AttributeType)

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)


def parse_time(text: str) -> float | None:
    """The unix seconds of a time in ISO 8601 form; None for any other text."""
    if not _TIME.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # a day that no calendar has
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def type_of(value: Any) -> AttributeType | None:
    """The type of one value; None for null, nested values, lists of other than texts, and numbers that JSON lacks."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "number" if SMALLEST <= value <= LARGEST else None
    if isinstance(value, float):
        return "number" if math.isfinite(value) else None
    if isinstance(value, str):
        return "string" if parse_time(value) is None else "time"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return "list"
    return None


def fits(value: Any, expected: AttributeType) -> bool:
    """Whether an attribute of this type may have the value. A time is a string, too."""
    found = type_of(value)
    return found == expected or (expected == "string" and found == "time")


def common_type(types: Iterable[AttributeType]) -> AttributeType | None:
    """The type of an attribute whose values have these types: times among other texts are strings; else None."""
    found = set(types)
    if found == {"string", "time"}:
        return "string"
    return found.pop() if len(found) == 1 else None


def inferred_types(records: Iterable[Mapping[str, Any]]) -> dict[str, AttributeType]:
    """The type of each attribute of the records, by name; attributes whose values have several types are left out."""
    found: dict[str, set[AttributeType]] = {}
    for record in records:
        for name, value in record.items():
            one = type_of(value)
            if one is not None:
                found.setdefault(name, set()).add(one)
    types = {name: common_type(several) for name, several in found.items()}
    return {name: one for name, one in types.items() if one is not None}
