"""A change of some fields of an item, as PATCH takes it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index.modality import Modality
from service.errors import InvalidRequestError, sentence
from service.items.item import (
    LONGEST_TEXT,
    LONGEST_VALUE,
    MOST_ATTRIBUTES,
    MOST_CATEGORIES,
    AttributeValue,
    Features,
    GivenItem,
    Item,
    Name,
    Text,
)

MERGED = ("attributes", "features")  # by name; other fields are replaced


class ItemPatch(BaseModel):
    """Only the given fields are changed. Null empties a field, and removes an attribute or the features of a modality.

    Attributes and features that are not named stay as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: Text | None = None
    categories: Annotated[tuple[Name, ...], Field(max_length=MOST_CATEGORIES)] | None = None
    attributes: Annotated[dict[Name, AttributeValue | None], Field(max_length=MOST_ATTRIBUTES)] | None = None
    image: Annotated[str, Field(max_length=LONGEST_VALUE)] | None = None
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None
    features: dict[Modality, Features | None] | None = None
    available: bool | None = None
    created_at: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def applied_to(self, item: Item) -> GivenItem:
        """The item with the changes; InvalidRequestError where it then breaks a limit."""
        fields: dict[str, Any] = item.model_dump(exclude={"item_id", "updated_at"})
        for name in self.model_fields_set:
            value = getattr(self, name)
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = _merged(fields[name], value) if name in MERGED else value
        try:
            return GivenItem.model_validate(fields)
        except ValidationError as error:
            raise InvalidRequestError("body: " + sentence(error.errors(include_url=False))) from None


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**before, **changes}.items() if value is not None}
