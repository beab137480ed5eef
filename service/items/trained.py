"""The items of the bundle that serves, as training saw them."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from index.attribute_types import AttributeType, fits, parse_time, type_of
from index.bundle import Bundle
from service.items.item import LONGEST_NAME, LONGEST_VALUE, MOST_ATTRIBUTES, MOST_CATEGORIES, MOST_VALUES, Item

CATEGORIES = "categories"  # the attribute that holds further categories


class TrainedItems:
    """Which items training saw, and what it saw of them."""

    def __init__(self, bundle: Callable[[], Bundle]) -> None:
        self._bundle = bundle

    @property
    def types(self) -> Mapping[str, AttributeType]:
        """The types of attributes that the bundle declares."""
        return self._bundle().manifest.attribute_types

    def row(self, item_id: str) -> int | None:
        """The row of a trained item; None for any other: rows beyond the trained ones are of living items."""
        bundle = self._bundle()
        row = bundle.item_ids.row(item_id)
        return row if row is not None and row < bundle.manifest.n_items else None

    def item(self, item_id: str, types: Mapping[str, AttributeType]) -> Item | None:
        """A trained item as a stored one, with attributes of these types; None where training did not see it."""
        row = self.row(item_id)
        if row is None:
            return None
        bundle = self._bundle()
        created_at = bundle.manifest.created_at.timestamp()
        return item_of(orjson.loads(bundle.item_json(row)), item_id, types, created_at=created_at)


def item_of(record: Mapping[str, Any], item_id: str, types: Mapping[str, AttributeType], *, created_at: float) -> Item:
    """The stored item of a bundle's record. What a stored item cannot hold is left out or cut."""
    attributes = dict(record["attributes"])
    further = attributes.pop(CATEGORIES, ())
    named = [record["category"], *(further if isinstance(further, list) else ())]
    categories = dict.fromkeys(name[:LONGEST_NAME] for name in named if isinstance(name, str) and name)
    typed = {name: as_type(value, types.get(name)) for name, value in attributes.items()}
    kept = [(name, value) for name, value in typed.items() if value is not None and 0 < len(name) <= LONGEST_NAME]
    fields = {
        "item_id": item_id,
        "title": record["title"][:LONGEST_VALUE],
        "categories": tuple(categories)[:MOST_CATEGORIES],
        "attributes": dict(kept[:MOST_ATTRIBUTES]),
        "image": record["image"][:LONGEST_VALUE] if record["image"] else None,
        "created_at": max(0.0, created_at),
        "updated_at": created_at,
    }
    return Item.model_validate(fields)


def as_type(value: Any, expected: AttributeType | None) -> Any:
    """The value of an attribute of a type, read from text where it was stored as text; None where it cannot be."""
    if isinstance(value, list):
        value = tuple(one[:LONGEST_VALUE] for one in value[:MOST_VALUES] if isinstance(one, str))
    elif isinstance(value, str):
        value = value[:LONGEST_VALUE]
    if expected is None or fits(value, expected):
        return value if type_of(value) is not None else None
    return _read(value, expected) if isinstance(value, str) else None


def _read(text: str, expected: AttributeType) -> Any:
    if expected == "number":
        try:
            number = float(text)
        except ValueError:
            return None
        return number if type_of(number) else None
    if expected == "boolean":
        return {"true": True, "false": False}.get(text.lower())
    if expected == "list":
        return tuple(text.split("|"))[:MOST_VALUES]
    return text if expected == "time" and parse_time(text) is not None else None
