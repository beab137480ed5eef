"""One thing that a user did with an item, as the log keeps it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

POSITIVE = frozenset({"view", "click", "like", "purchase"})  # enter the user's profile
DISLIKE = "dislike"  # leaves the profile; the item is never shown to the user again
IMPRESSION = "impression"  # was shown; counts for /quality only
CLICK = "click"  # what /quality joins to impressions
PROFILE = POSITIVE | {DISLIKE}  # what a user's recent events consist of
KINDS = PROFILE | {IMPRESSION}  # any other kind is kept and exported, and means nothing to the service

Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,31}$")]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
BundleId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class Event(BaseModel):
    """An accepted event. Two events with one event_id are the same event.

    An impression may stand for one item, or for a whole answer: then its item_id is empty and its value is the
    number of items shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event_id: str
    user_id: str
    item_id: str
    kind: Kind
    value: float = 1.0
    timestamp: float  # unix seconds, as the caller tells it; the log's order is that of acceptance
    request_id: RequestId | None = None  # of the answer that led to the event
    bundle: BundleId | None = None  # that gave this answer
