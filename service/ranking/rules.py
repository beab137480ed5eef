"""The grammar of rules that pin, boost, block or require items, in a request's body and in the rules file.

{"pin":     [{"item_id": "B0012", "position": 1}],
 "boost":   [{"category": "lamp", "by": 0.5}, {"item_id": "B0044", "by": -1}],
 "block":   [{"attribute": "material", "value": "wool"}],
 "require": [{"attribute": "colour", "value": "red"}, {"attribute": "colour", "value": "blue"}]}
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, create_model, model_validator
from pydantic.config import JsonDict

from service.errors import InvalidRequestError
from service.ranking.facets import CATEGORY, as_text

LARGEST_BOOST = 1_000.0

ItemId = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_of(*ways: tuple[str, ...]) -> JsonDict:
    """A JSON schema: the fields of exactly one way are present."""
    none: JsonDict = {"type": "null"}
    given: JsonDict = {"not": none}
    names = ("item_id", "category", "attribute", "value")
    return {
        "anyOf": [
            {"required": [*way], "properties": {name: given if name in way else none for name in names}} for way in ways
        ]
    }


class Choice(_Strict):
    """Which items: one of them, those of a category, or those whose attribute has a value."""

    model_config = ConfigDict(json_schema_extra=_one_of(("item_id",), ("category",), ("attribute", "value")))

    item_id: ItemId | None = None
    category: str | None = None
    attribute: str | None = None
    value: str | bool | int | FiniteFloat | None = Field(
        None, description="with attribute: the value that items must have"
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Choice":
        ways = [name for name in ("item_id", "category", "attribute") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"expected one of item_id, category, attribute, found {' and '.join(ways) or 'none'}")
        if (self.attribute is None) != (self.value is None):
            raise ValueError("expected attribute and value together")
        return self

    @property
    def facet(self) -> tuple[str, str]:
        """The attribute's name, or `category`, and its value as text."""
        if self.category is not None:
            return CATEGORY, self.category
        return self.attribute or "", as_text(self.value) or ""


class Requirement(Choice):
    """What an item must have to be shown: a category or an attribute's value."""

    model_config = ConfigDict(json_schema_extra=_one_of(("category",), ("attribute", "value")))

    @model_validator(mode="after")
    def _no_item(self) -> "Requirement":
        if self.item_id is not None:
            raise ValueError("expected category or attribute, found item_id")
        return self


class Boost(Choice):
    """By how much the score of items is raised or lowered."""

    by: float = Field(
        ge=-LARGEST_BOOST,
        le=LARGEST_BOOST,
        allow_inf_nan=False,
        description="in standard deviations of this user's scores over the catalogue",
    )


class Pin(_Strict):
    """An item at a fixed position of the list, independent of its score."""

    item_id: ItemId
    position: int = Field(ge=1, description="1 is the top")


class Rules(_Strict):
    """What to pin, boost, block and require."""

    pin: tuple[Pin, ...] = ()
    boost: tuple[Boost, ...] = ()
    block: tuple[Choice, ...] = ()
    require: tuple[Requirement, ...] = Field(
        default=(), description="values of one attribute are alternatives, different attributes must all be met"
    )

    @model_validator(mode="after")
    def _pins_are_unique(self) -> "Rules":
        for name in ("item_id", "position"):
            duplicate = _first_duplicate(getattr(pin, name) for pin in self.pin)
            if duplicate is not None:
                raise ValueError(f"pin: {name} {duplicate!r} appears twice, expected each once")
        both = {pin.item_id for pin in self.pin} & {block.item_id for block in self.block}
        if both:
            raise ValueError(f"item_id {min(both)!r} is both pinned and blocked")
        return self

    def entry_counts(self) -> Mapping[str, int]:
        return {name: len(getattr(self, name)) for name in type(self).model_fields}


def rules_with_limit(entries_max: int) -> type[Rules]:
    """Rules with at most so many entries of a kind."""
    entries = Field(max_length=entries_max, fail_fast=True)
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, entries], field) for name, field in Rules.model_fields.items()
    }
    return create_model("Rules", __base__=Rules, __doc__=Rules.__doc__, **fields)


def _first_duplicate(values: Iterable[object]) -> object | None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


NO_RULES = Rules()


def requirements(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Parse the filters of a query string, such as `colour:red`, into names and values."""
    for text in texts:
        name, colon, value = text.partition(":")
        if not (name and colon and value):
            raise InvalidRequestError(f"require: expected name:value, found {text[:80]!r}")
        yield name, value
