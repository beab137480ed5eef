"""An item of the living catalogue: as a caller gives it, and as the store holds it."""

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from index.modality import Modality

LONGEST_TEXT = 100_000  # characters; encoders read some hundred words
MOST_CATEGORIES = 64
MOST_ATTRIBUTES = 64
LONGEST_NAME = 256
LONGEST_VALUE = 4_096
MOST_VALUES = 64  # of one list
WIDEST_FEATURES = 16_384

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Text = Annotated[str, Field(max_length=LONGEST_VALUE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
AttributeValue = bool | int | Finite | Text | Annotated[tuple[Text, ...], Field(max_length=MOST_VALUES)]
Features = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=WIDEST_FEATURES)]


class GivenItem(BaseModel):
    """An item as a caller puts it; what is left out is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: Text = ""
    categories: Annotated[tuple[Name, ...], Field(max_length=MOST_CATEGORIES)] = Field(
        (), description="the first one is the category that lists show and that category_cap counts"
    )
    attributes: Annotated[dict[Name, AttributeValue], Field(max_length=MOST_ATTRIBUTES)] = Field(
        {}, description="text, number, true or false, time (ISO 8601 text) or list of texts; a name keeps its type"
    )
    image: Annotated[str, Field(max_length=LONGEST_VALUE)] | None = Field(
        None, description="URL of the picture, or a file name below RECO_IMAGES"
    )
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] = Field(
        "", description="words that describe the item, for the encoder of texts; empty: the title"
    )
    features: dict[Modality, Features] = Field(
        {}, description="ready features by modality, as wide as those of training; they win over text and image"
    )
    available: bool = Field(True, description="false: in no list until it is true again")
    created_at: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="unix seconds; unset: when the item was first put"
    )


class Item(GivenItem):
    """A stored item."""

    item_id: str
    created_at: float
    updated_at: float


class ItemChange(NamedTuple):
    """One entry of the store's order of changes. An item's newest change tells all of its state."""

    position: int  # ascending, of all items; a change gives its item a new position
    item_id: str
    item: Item | None  # None: deleted


def bundle_record(item: Item) -> dict[str, Any]:
    """The metadata of the item as a bundle holds them (docs/bundle.md). Further categories are a list attribute."""
    attributes: dict[str, Any] = dict(item.attributes)
    if len(item.categories) > 1:
        attributes["categories"] = list(item.categories)
    return {
        "title": item.title,
        "category": item.categories[0] if item.categories else "",
        "attributes": attributes,
        "image": item.image,
    }
