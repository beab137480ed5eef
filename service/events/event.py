"""One interaction of a user with an item: as a caller sends it, and as the log stores it."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

DISLIKE = "dislike"  # removes the item from the profile; it is not shown to the user again
IMPRESSION = "impression"  # items were shown; counts for /quality only
EXPLORED_ID = "explored:"  # begins the event id of an impression of items that were shown to learn about them
FORGOTTEN = "forgotten"  # stands in the log for an event of a person who was forgotten; it holds no ids
OTHER = "other"  # the label under which /quality counted kinds without a meaning

# What an event is to the answer that led to it, for /quality.
AS_SHOWN, AS_CLICKED, AS_BOUGHT = "shown", "clicked", "bought"

MOST_SHOWN = 100_000  # items that one impression may stand for
MOST_PAID = 1e9  # value times quantity of one conversion
THOUSAND = 1_000  # amounts are counted in thousandths, so that their sum does not depend on their order

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
    kind: Kind = Field(description="click, dislike, impression, like, purchase, view, or the kinds of the operator")
    value: float = Field(1.0, description="price or rating; of an impression: how many items were shown")
    quantity: Annotated[float | None, Field(ge=0, le=1e9, description="how many were bought; unset: 1")] = None
    portion: Annotated[float | None, Field(ge=0, le=1, description="share that was viewed, read or heard")] = None
    timestamp: float | None = Field(None, ge=0, description="unix seconds; unset: now")
    request_id: Annotated[Name | None, Field(description="of the answer that led to the event")] = None
    bundle: Annotated[Name | None, Field(description="that gave this answer")] = None

    @model_validator(mode="after")
    def _names_item_unless_impression(self) -> Self:
        if self.kind == IMPRESSION:
            if not 1 <= self.value <= MOST_SHOWN:
                raise ValueError(f"the value of an impression is the number of items shown, 1 to {MOST_SHOWN}")
        elif self.kind != FORGOTTEN and not (self.user_id and self.item_id):
            raise ValueError("user_id or item_id is empty, which only those of an impression may be")
        return self


class Event(GivenEvent):
    """An accepted event. The timestamp is the caller's; the order of events is that of acceptance."""

    event_id: EventId
    timestamp: float = Field(ge=0)
    arm: str | None = None  # of an experiment, as experiment/phase/arm: what the user is assigned to
    items: list[str] = []  # of an impression that the service logs: the items of the answer

    @property
    def paid(self) -> int:
        """Value times quantity in thousandths, at most MOST_PAID; 0 where the caller gave no value."""
        if "value" not in self.model_fields_set:
            return 0
        amount = self.value * (1.0 if self.quantity is None else self.quantity)
        return round(min(max(amount, -MOST_PAID), MOST_PAID) * THOUSAND)


def forgotten_event(event_id: str, timestamp: float) -> Event:
    """What stands in the log, or in an export, in place of an event of a forgotten person."""
    return Event(event_id=event_id, user_id="", item_id="", kind=FORGOTTEN, value=0.0, timestamp=timestamp)


def completed(given: GivenEvent, added: dict[str, Any]) -> Event:
    """The event of what a caller gave and what the service adds, without a second validation."""
    return Event.model_construct(given.model_fields_set | added.keys(), **(given.__dict__ | added))
