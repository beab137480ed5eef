"""Random catalogues and filters for tests, and an evaluation of a filter item by item, as its page explains it."""

from typing import Any

import orjson
from hypothesis import strategies as st

from index.attribute_types import parse_time
from index.ids import IdTable, PackedStrings
from index.recommending.steps import done
from service.ranking.facets import Facets, build_facets
from service.ranking.filters.evaluation import Selection
from service.ranking.filters.expression import (
    And,
    Boolean,
    Comparison,
    Containment,
    Existence,
    Expression,
    FromNow,
    Membership,
    Moment,
    Not,
    Number,
    Or,
    Text,
    Value,
)
from service.ranking.filters.parsing import Filter

NOW = 1_770_000_000.0 // 60 * 60
WORDS = ("red", "blue", "Grün", "dark red", "x")
TYPES = {"colour": "string", "tags": "list", "price": "number", "new": "boolean", "odd `name\\": "time"}
TIMES = ("2026-01-01", "2026-02-01T10:00:00Z", "2026-02-02T02:39:00+01:00", "2025-12-31T23:59:59.5Z")
NUMBERS = (-1.5, 0.0, 1.0, 2.5, 3.0)

Record = dict[str, Any]

_values = {
    "string": st.sampled_from(WORDS),
    "list": st.lists(st.sampled_from(WORDS), max_size=3),
    "number": st.sampled_from(NUMBERS),
    "boolean": st.booleans(),
    "time": st.sampled_from(TIMES),
}
_attributes = st.fixed_dictionaries({}, optional={name: st.none() | _values[kind] for name, kind in TYPES.items()})
records = st.builds(
    lambda title, category, others, attributes, own: {
        "title": title,
        "category": category,
        "attributes": {**attributes, **({"categories": [category, *others]} if others else {})},
        "image": None,
        **own,
    },
    st.sampled_from(["", "Oak lamp", "oak LAMP", "Brass Chair", "GRÜN", "lamp"]),
    st.sampled_from(["", "lamp", "chair"]),
    st.lists(st.sampled_from(["rug", "lamp"]), max_size=1),
    _attributes,
    st.fixed_dictionaries({}, optional={"available": st.booleans(), "created_at": st.sampled_from([NOW - 90.0, NOW])}),
)

_numbers = st.sampled_from(NUMBERS).map(Number)
_texts = st.sampled_from([*WORDS, "green", 'a"b\\', "and", "2026-01-01"]).map(Text)
_booleans = st.booleans().map(Boolean)
_moments = st.one_of(
    st.sampled_from(["2026-01-01", "2026-02-02T01:39:00Z"]).map(lambda text: Moment(text, parse_time(text) or 0.0)),
    st.sampled_from(TIMES).map(Text),
    st.sampled_from([0.0, -60.0, -30 * 86_400.0, 3_600.0]).map(FromNow),
)
_ordered = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_equal = st.sampled_from(["=", "!="])


def _compared(name: str, operators: Any, values: Any) -> Any:
    several = st.lists(values, min_size=1, max_size=3, unique=True).map(tuple)
    return st.builds(Comparison, st.just(name), operators, values) | st.builds(Membership, st.just(name), several)


def _containing(name: str, values: Any) -> Any:
    return st.builds(Containment, st.just(name), values)


tests = st.one_of(
    _compared("price", _ordered, _numbers),
    _compared("odd `name\\", _ordered, _moments),
    _compared("created_at", _ordered, _moments),
    _compared("new", _equal, _booleans),
    _compared("available", _equal, _booleans),
    _compared("colour", _equal, _texts),
    _containing("colour", st.sampled_from(["red", "RED", "e", "grü", ""]).map(Text)),
    _containing("tags", _texts),
    _compared("category", _equal, st.sampled_from(["lamp", "rug", "sofa"]).map(Text)),
    _containing("category", st.sampled_from(["lamp", "rug"]).map(Text)),
    _compared("item_id", _equal, st.sampled_from(["i0", "i1", "i99"]).map(Text)),
    _compared("title", _equal, st.sampled_from(["oak lamp", "Lamp", ""]).map(Text)),
    _containing("title", st.sampled_from(["LAMP", "ass ch", "zzz"]).map(Text)),
    st.builds(Existence, st.sampled_from([*TYPES, "category", "item_id", "title", "available", "created_at"])),
    _compared("weight", _ordered, _numbers),  # no item has it
)


def _joined(kind: Any) -> Any:
    def join(parts: list[Expression]) -> Expression:
        flat = [one for part in parts for one in (part.parts if isinstance(part, kind) else [part])]
        return kind(tuple(flat))  # type: ignore[no-any-return]

    return join


expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(_joined(And)),
        st.lists(inner, min_size=2, max_size=3).map(_joined(Or)),
        inner.map(lambda part: part.part if isinstance(part, Not) else Not(part)),
    ),
    max_leaves=6,
)


def pack(items: list[Record]) -> PackedStrings:
    return PackedStrings.pack([orjson.dumps(item) for item in items])


def facets_of(items: list[Record]) -> Facets:
    return build_facets(pack(items), TYPES)  # type: ignore[arg-type]


def ids_of(n: int) -> IdTable:
    return IdTable.build([f"i{row}" for row in range(n)])


def select(facets: Facets, expression: Expression) -> Selection:
    return done(facets.select(Filter(expression), ids_of(facets.n_rows), NOW + 30))


def matches(expression: Expression, row: int, item: Record) -> bool:
    """Whether an item matches, by the rules of docs/filters.md."""
    if isinstance(expression, And):
        return all(matches(part, row, item) for part in expression.parts)
    if isinstance(expression, Or):
        return any(matches(part, row, item) for part in expression.parts)
    if isinstance(expression, Not):
        return not matches(expression.part, row, item)
    return _holds(expression, _held(expression.name, row, item))


def _held(name: str, row: int, item: Record) -> Any:
    """What the item has of this name; None for nothing, a list for several."""
    attributes = item["attributes"]
    if name == "category":
        return [one for one in {item["category"], *attributes.get("categories", ())} if one] or None
    held = {
        "item_id": f"i{row}",
        "title": item["title"].casefold(),
        "available": item.get("available", True),
        "created_at": item.get("created_at"),
    }.get(name, attributes.get(name))
    if TYPES.get(name) == "time" and held is not None:
        return parse_time(held)
    return None if held in ("", []) else held


def _holds(test: Any, held: Any) -> bool:  # noqa: PLR0911 - one for each kind of comparison
    if held is None:
        return False
    if isinstance(test, Existence):
        return True
    if isinstance(test, Membership):
        return any(_equals(test.name, held, value) for value in test.values)
    if isinstance(test, Containment):
        if isinstance(held, list):
            return _equals(test.name, held, test.value)
        return isinstance(test.value, Text) and test.value.value.casefold() in held.casefold()
    if test.operator in ("=", "!="):
        return _equals(test.name, held, test.value) == (test.operator == "=")
    value = _plain(test.name, test.value)
    return {"<": held < value, "<=": held <= value, ">": held > value, ">=": held >= value}[test.operator]


def _equals(name: str, held: Any, value: Value) -> bool:
    plain = _plain(name, value)
    return plain in held if isinstance(held, list) else bool(held == plain)


def _plain(name: str, value: Value) -> Any:
    if isinstance(value, FromNow):
        return NOW + value.seconds
    if isinstance(value, Moment):
        return value.seconds
    if name == "title" and isinstance(value, Text):
        return value.value.casefold()
    if isinstance(value, Text) and (TYPES.get(name) == "time" or name == "created_at"):
        return parse_time(value.value)
    return value.value
