"""Models of the JSON response about two bundles, for the OpenAPI document and the client."""

from datetime import datetime

from pydantic import BaseModel, Field

from service.http.responses import Answer, Item, RankedItem


class ComparedBundle(BaseModel):
    """One of two bundles, and what it has that the other has not."""

    bundle_id: str
    serves: bool = Field(description="in the process that responds")
    model: str
    created_at: datetime
    metrics: dict[str, dict[str, float]]
    n_users: int
    n_items: int
    n_interactions: int
    bytes: int = Field(description="total size of its files")
    shared_bytes: int = Field(description="of them, those of files that equal the serving bundle's: in memory once")
    only_users: int = Field(description="users whom the other bundle does not know")
    only_items: int = Field(description="items that the other bundle does not have")
    only_items_examples: list[Item] = Field(description="some of these items")
    shown_items: int = Field(description="different items in the lists of the sampled users")
    coverage: float = Field(description="these, divided by the most that the lists could hold, as the gate measures it")


class ComparedItem(RankedItem):
    """An item in one bundle's list."""

    other_rank: int | None = Field(description="in the other bundle's list; null: not among its first 200")
    other_has: bool = Field(description="whether the other bundle has the item")


class ComparedList(BaseModel):
    """One bundle's list for the user."""

    source: str = Field(description="user, fold_in, or popular where the bundle knows nothing of the user")
    items: list[ComparedItem]


class ComparedUser(BaseModel):
    """The same user's lists by both bundles, without rules and without changes of items since training."""

    user_id: str
    past: list[Item] = Field(description="the newest items that the user had, newest first")
    overlap: float = Field(description="share of common items in the two lists")
    a: ComparedList
    b: ComparedList


class ComparisonAnswer(Answer):
    """Response of GET /bundles/compare."""

    k: int
    shared_users: int
    shared_items: int
    sampled_users: int = Field(description="up to 200, evenly spaced among the users whom both bundles know")
    overlap: float | None = Field(
        description="mean share of common items in the top k of the sampled users; null where there are none"
    )
    rank_correlation: float | None = Field(
        description="mean of Spearman's, over the common items of lists that have at least 3; null where none has"
    )
    a: ComparedBundle
    b: ComparedBundle
    user: ComparedUser | None
