"""One interaction of a user with an item: as a caller sends it, and as the log stores it."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

POSITIVE = frozenset({"view", "click", "like", "purchase"})  # add the item to the user's profile
DISLIKE = "dislike"  # removes the item from the profile; it is not shown to the user again
IMPRESSION = "impression"  # items were shown; counts for /quality only
EXPLORED_ID = "explored:"  # begins the event id of an impression of items that were shown to learn about them
CLICK, PURCHASE = "click", "purchase"  # /quality joins both to impressions
PROFILE = POSITIVE | {DISLIKE}  # the kinds that change a user's profile
KINDS = PROFILE | {IMPRESSION}  # any other kind is stored and exported, and has no other effect
OTHER = "other"  # the label of all other kinds, so that callers cannot create metric series

MOST_SHOWN = 100_000  # items that one impression may stand for

Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,31}$")]
EventId = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]  # the characters of request ids and bundle ids


# The validator of GivenEvent as a JSON schema.
ITEM_OR_IMPRESSION: JsonDict = {
    "anyOf": [
        {"properties": {"kind": {"const": IMPRESSION}, "value": {"minimum": 1, "maximum": MOST_SHOWN}}},
        {
            "properties": {
                "kind": {"not": {"const": IMPRESSION}},
                "user_id": {"minLength": 1},
                "item_id": {"minLength": 1},
            },
            "required": ["item_id"],
        },
    ]
}


class GivenEvent(BaseModel):
    """An event as a caller gives it. Two events with one event_id are the same event.

    An impression may stand for one item, or for a whole answer: then item_id is empty and value is the number of
    items shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=ITEM_OR_IMPRESSION)

    event_id: EventId | None = Field(None, description="makes it safe to send the event again; unset: one is made")
    user_id: str
    item_id: str = ""
    kind: Kind = Field(description=f"{', '.join(sorted(KINDS))}, or any other name")
    value: float = Field(1.0, description="of an impression: how many items were shown")
    timestamp: float | None = Field(None, ge=0, description="unix seconds; unset: now")
    request_id: Name | None = Field(None, description="of the answer that led to the event")
    bundle: Name | None = Field(None, description="that gave this answer")

    @model_validator(mode="after")
    def _names_item_unless_impression(self) -> Self:
        if self.kind == IMPRESSION:
            if not 1 <= self.value <= MOST_SHOWN:
                raise ValueError(f"the value of an impression is the number of items shown, 1 to {MOST_SHOWN}")
        elif not (self.user_id and self.item_id):
            raise ValueError("user_id or item_id is empty, which only those of an impression may be")
        return self


class Event(GivenEvent):
    """An accepted event. The timestamp is the caller's; the order of events is that of acceptance."""

    event_id: EventId
    timestamp: float = Field(ge=0)
    items: list[str] = []  # of an impression that the service logs: the items of the answer


def kind_label(kind: str) -> str:
    """The label under which metrics and /quality count a kind."""
    return kind if kind in KINDS else OTHER
