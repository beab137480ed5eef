"""What lists show of their items where a request names fields: `fields=title,price,colour`."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

METADATA = ("item_id", "title", "category", "categories", "image")
ALL_ATTRIBUTES = "attributes"
MOST_NAMED = 10  # unknown names in one warning
LONGEST_NAME = 80  # characters of a name in a warning
CACHED_LISTS = 1_024  # of names, parsed


class Fields(NamedTuple):
    """The fields that a list shows of each item, beside its id, rank and score."""

    metadata: tuple[str, ...]  # of METADATA, in its order
    attributes: tuple[str, ...]
    all_attributes: bool


class ChosenFields(NamedTuple):
    """The chosen fields of one item, as the beginning of a JSON object, and the attributes among them that it has."""

    in_list: bytes
    has: frozenset[str]


@lru_cache(CACHED_LISTS)
def chosen_fields(texts: tuple[str, ...]) -> Fields | None:
    """The fields that the texts name, each one name or several with commas between them; None where they name none."""
    names = dict.fromkeys(name for text in texts for part in text.split(",") if (name := part.strip()))
    if not names:
        return None
    others = tuple(name for name in names if name not in METADATA and name != ALL_ATTRIBUTES)
    return Fields(tuple(name for name in METADATA if name in names), others, ALL_ATTRIBUTES in names)


def render_fields(record: Mapping[str, Any], fields: Fields) -> ChosenFields:
    """The chosen fields of an item by its full record. An attribute that it lacks is left out."""
    attributes: Mapping[str, Any] = record["attributes"]
    shown = {"item_id": record["item_id"]}
    for name in fields.metadata:
        shown[name] = _categories(record) if name == "categories" else record[name]
    if fields.all_attributes:
        shown[ALL_ATTRIBUTES] = attributes
    elif fields.attributes:
        shown[ALL_ATTRIBUTES] = {name: attributes[name] for name in fields.attributes if name in attributes}
    return ChosenFields(orjson.dumps(shown)[:-1], frozenset(fields.attributes) & attributes.keys())


def _categories(record: Mapping[str, Any]) -> list[str]:
    several = record["attributes"].get("categories")
    if isinstance(several, list):
        return several
    return [record["category"]] if record["category"] else []


def unknown_fields(names: Sequence[str], known: Iterable[str]) -> str:
    """A warning that no item has attributes of these names, with the nearest name that one has."""
    known = [*known]
    told = []
    for name in names[:MOST_NAMED]:
        near = get_close_matches(name, known, n=1)
        told.append(f"{name[:LONGEST_NAME]!r}{f' (did you mean {near[0]!r}?)' if near else ''}")
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"fields: no item has {', '.join(told)}{more}"
