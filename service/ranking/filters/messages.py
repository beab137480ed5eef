"""What a caller is told of a filter that does not fit the items: wrong types, unknown names and values."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from service.errors import InvalidRequestError
from service.ranking.filters.columns import Column, NumberColumn
from service.ranking.filters.expression import (
    Comparison,
    Containment,
    Existence,
    Membership,
    Test,
    Value,
    name_text,
    values_of,
)
from service.ranking.filters.suggestions import SHOWN, listed

# By type: what its attributes hold, and its operators. A category and an item's id have types of their own.
TYPES: Mapping[str, tuple[str, frozenset[str]]] = {
    "number": ("numbers", frozenset({"=", "!=", "<", "<=", ">", ">=", "in"})),
    "time": ("times", frozenset({"=", "!=", "<", "<=", ">", ">=", "in"})),
    "boolean": ("true or false", frozenset({"=", "!=", "in"})),
    "string": ("text", frozenset({"=", "!=", "in", "contains"})),
    "list": ("lists", frozenset({"contains"})),
    "category": ("categories", frozenset({"=", "!=", "in", "contains"})),
    "item_id": ("ids", frozenset({"=", "!=", "in"})),
}
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "contains")
TEXTS = ("string", "list", "category", "item_id")  # types whose values are texts
MOST_NAMES = 20


def check_operator(test: Test, kind: str) -> None:
    """InvalidRequestError where the type has no such operator; it names those that it has."""
    operator = _operator(test)
    holds, operators = TYPES[kind]
    if operator in operators:
        return
    advice = ""
    if kind == "list" and not isinstance(test, Existence):
        advice = f": write {' or '.join(f'{name_text(test.name)} contains {value}' for value in values_of(test)[:2])}"
    expected = ", ".join([one for one in OPERATORS if one in operators])
    raise InvalidRequestError(
        f"filter: {shown_name(test.name)} holds {holds}, found {operator}; expected {expected} or exists{advice}"
    )


def _operator(test: Test) -> str:
    if isinstance(test, Comparison):
        return test.operator
    return {Membership: "in", Containment: "contains", Existence: "exists"}[type(test)]


def mismatch(test: Test, value: Value, kind: str) -> str:
    """Why a value cannot be compared with what the attribute holds."""
    holds = TYPES[kind][0]
    advice = ""
    if kind in TEXTS:
        advice = f'; write "{value}"'
    elif kind == "time":
        advice = ", such as 2026-01-31, 2026-01-31T12:00:00Z or now - 30d"
    return f"{shown_name(test.name)} holds {holds}, found {value.kind} {shortened(str(value))}{advice}"


def range_of(column: Column) -> str:
    """The end of a warning: between which numbers or times the values are."""
    found = column.range() if isinstance(column, NumberColumn) else None
    if found is None:
        return ""
    low, high = map(_moment, found) if column.type == "time" else (f"{number:g}" for number in found)
    return f"; its values are {low} to {high}"


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # numbers that no calendar has
        return f"{seconds:g}"


def did_you_mean(texts: Sequence[str]) -> str:
    """The end of a warning: what may have been meant."""
    return f"; did you mean {listed(texts)}?" if texts else ""


def known_names(names: Sequence[str]) -> str:
    """The end of a warning about an unknown name that resembles none."""
    shown = [shown_name(name) for name in names[:MOST_NAMES]]
    return f"; known are {', '.join(shown + ['...'] * (len(names) > MOST_NAMES))}"


def shown_name(name: str) -> str:
    """A name as a filter writes it, of bounded length."""
    return shortened(name_text(name))


def shortened(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
