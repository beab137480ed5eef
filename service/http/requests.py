"""What callers may ask of recommendations and neighbours: the queries and bodies, with the operator's limits."""

from functools import cached_property
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model, model_validator

from service.http.responses import By, ListQuery
from service.ranking.constraints import Filters
from service.ranking.diversity import ListOrder
from service.ranking.rules import NO_RULES, ItemId, Rules, requirements
from service.settings import Settings

LARGEST_WEIGHT = 1_000.0
MOST_SEED = 2**53 - 1  # beyond it not every reader of JSON tells integers apart
# Told in the document alone: who breaks it is refused with a sentence, not with a pattern.
NAME_AND_VALUE = WithJsonSchema({"type": "string", "pattern": r"^[^:]+:[\s\S]+$"})


class PagedQuery(ListQuery):
    """Which part of a list, and of which items."""

    offset: int = Field(0, ge=0, description="places to leave out at the top: offset 10 with k 10 is the second page")
    category: tuple[str, ...] = Field((), description="only items of these categories; may come several times")
    require: tuple[Annotated[str, NAME_AND_VALUE], ...] = Field(
        (),
        description="only items whose attribute has this value, as name:value; may come several times: values of one "
        "name are alternatives, different names must all be met",
    )
    exclude: tuple[str, ...] = Field((), description="item ids to leave out; may come several times")

    @property
    def filters(self) -> Filters:
        """The filters in it. InvalidRequestError where one cannot be read."""
        return Filters(self.category, tuple(requirements(self.require)), self.exclude)

    @property
    def filtering(self) -> bool:
        """Whether there is any filter."""
        return bool(self.category or self.require or self.exclude)


class RecommendQuery(PagedQuery):
    """What a caller may ask of /recommend."""

    exclude_seen: bool = Field(True, description="leave out what the user already had")
    explain: bool = Field(False, description="say why, by shares that sum to the score")
    counterfactual: bool = Field(
        False, description="with explain: the item's rank if a past item were taken away (scores the catalogue)"
    )
    diversity: float = Field(0.0, ge=0, le=1, description="0: by score alone; 1: by unlikeness to what stands above")
    diversity_by: By = Field("fused", description="the space of that likeness, as `by` of /similar")
    category_cap: int | None = Field(None, ge=1, description="at most so many items of one category")
    seed: int | None = Field(
        None,
        ge=0,
        le=MOST_SEED,
        description="let near equals change places by chance: the same seed, the same order",
    )

    @property
    def order(self) -> ListOrder:
        """In which order items come."""
        return ListOrder(self.diversity, self.diversity_by, self.category_cap, self.seed)

    @cached_property
    def plain(self) -> bool:
        """Whether it is the first page by score of all items."""
        return not (self.offset or self.filtering) and self.order.plain


class SimilarQuery(PagedQuery):
    """What a caller may ask of /similar."""

    by: By = Field("fused", description="fused, id, or a modality that the bundle has")
    explain: bool = Field(False, description="add the cosine in every space and the users in common")
    user_id: str | None = Field(None, min_length=1, description="leave out what this user had")


class TrendingQuery(PagedQuery):
    """What a caller may ask of /trending."""

    half_life_hours: float | None = Field(
        None, ge=1, le=8_760, allow_inf_nan=False, description="after which an event counts half; unset: the setting"
    )


class SessionItem(BaseModel):
    """An item of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: ItemId
    weight: float = Field(1.0, gt=0, le=LARGEST_WEIGHT, description="beside 1, an item of a user's past")


class RuledBody(RecommendQuery):
    """Options of /recommend, and rules for this call."""

    rules: Rules = Field(default=NO_RULES, description="pin, boost, block, require")


class SessionBody(RuledBody):
    """Whom an answer is for by what was looked at, and how it should be."""

    user_id: str | None = Field(None, min_length=1, description="a known user whose profile the session goes on top of")
    items: tuple[SessionItem, ...] = Field((), description="what was looked at, oldest first")
    liked: tuple[ItemId, ...] = ()
    disliked: tuple[ItemId, ...] = Field((), description="never shown, and they speak against what is like them")


class BatchBody(RuledBody):
    """Many users, and how their answers should be."""

    user_ids: tuple[str, ...] = Field(min_length=1)


Q = TypeVar("Q", bound=ListQuery)
P = TypeVar("P", bound=PagedQuery)


def limited(model: type[Q], settings: Settings) -> type[Q]:
    """The query model with the default and the limit of k that the operator set."""
    k = Field(settings.k_default, ge=1, le=settings.k_max, description="items in the answer, at most")
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, k=(int, k))


def bounded(model: type[P], settings: Settings) -> type[P]:
    """The model with the limits that the operator set."""
    most = Field((), max_length=settings.entries_max)
    lists: dict[str, Any] = {
        name: (Annotated[field.annotation, most], field)
        for name, field in model.model_fields.items()
        if name in ("category", "require", "exclude", "items", "liked", "disliked")
    }
    if "user_ids" in model.model_fields:
        lists["user_ids"] = (tuple[str, ...], Field(min_length=1, max_length=settings.batch_max))
    if "user_id" in model.model_fields:
        lists["user_id"] = (str | None, Field(None, min_length=1, max_length=settings.id_max_chars))
    return create_model(
        model.__name__,
        __base__=limited(model, settings),
        __doc__=model.__doc__,
        __validators__={"_bounds": _bounds(settings)},
        **lists,
    )


def _bounds(settings: Settings) -> Any:
    def check(asked: Any) -> Any:
        depth = asked.offset + asked.k
        if depth > settings.depth_max:
            raise ValueError(f"offset + k is {depth}, the limit is {settings.depth_max}")
        rules = getattr(asked, "rules", None)
        for name, n in {} if rules is None else rules.entry_counts().items():
            if n > settings.entries_max:
                raise ValueError(f"rules.{name} has {n} entries, the limit is {settings.entries_max}")
        return asked

    return model_validator(mode="after")(check)
