"""Query and body models of lists, with the limits that the operator set."""

from copy import copy
from functools import cached_property
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model, model_validator
from pydantic.fields import FieldInfo

from service.http.parameters import ArmQuery, Query
from service.http.responses import By
from service.ranking.constraints import Filters
from service.ranking.diversity import ListOrder
from service.ranking.filters.parsing import MAX_CHARS, Filter, parse_filter
from service.ranking.item_fields import Fields, chosen_fields
from service.ranking.rules import NO_RULES, ItemId, Rules, requirements, rules_with_limit
from service.settings import RankingSettings, Settings

MAX_WEIGHT = 1_000.0
COSTLY = ("explain", "counterfactual", "diversity", "category_cap", "exploration", "has_filters", "user_id")
MAX_SEED = 2**53 - 1  # the largest integer that every reader of JSON represents exactly
CHEAP, CHEAP_EXPLAINED = 249, 22  # items at the top of a list, without and with explain, for less than two tokens
# In the OpenAPI document only: a request that breaks it gets an error in words, not one about a pattern.
NAME_AND_VALUE = WithJsonSchema({"type": "string", "pattern": r"^[^:]+:[\s\S]+$"})


class ListQuery(Query):
    """How many items."""

    k: int

    @cached_property
    def shape(self) -> str:  # computed once, as parsed queries are cached
        sizes = [self.k, *self._sizes()]
        return " ".join([*self._options(), *(str(size.bit_length()) for size in sizes)])  # sizes by powers of two

    def _options(self) -> list[str]:
        """The options that make an answer cost more."""
        return [name for name in COSTLY if getattr(self, name, False)]

    def _sizes(self) -> list[int]:
        """The sizes, beside k, that the cost depends on."""
        return []


class HiddenQuery(ListQuery):
    """Which page of the hidden items."""

    offset: int = Field(0, ge=0)


class ItemUsersQuery(ListQuery):
    """Which page of the users who had an item."""

    offset: int = Field(0, ge=0, description="users to skip, counted in the order of the bundle")


class PagedQuery(ListQuery):
    """Which page of a list, and its filters."""

    offset: int = Field(0, ge=0, description="items to skip at the top: offset 10 with k 10 is the second page")
    category: tuple[str, ...] = Field((), description="only items of these categories; may be repeated")
    require: tuple[Annotated[str, NAME_AND_VALUE], ...] = Field(
        (),
        description="only items whose attribute has this value, as name:value; may be repeated: values of one "
        "name are alternatives, different names must all match",
    )
    exclude: tuple[str, ...] = Field((), description="item ids to leave out; may be repeated")
    filter: str = Field(
        "",
        max_length=MAX_CHARS,
        description="only items that match, as in: price < 30 and available = true and not tags contains sale",
    )
    fields: tuple[str, ...] = Field(
        (),
        description="what items carry beside id, rank and score: title, category, categories, image, names of "
        "attributes, or attributes for all of these; commas between them; unset: title, category, image",
    )

    @cached_property
    def chosen_fields(self) -> Fields | None:
        """The fields that items carry; None for the usual ones."""
        return chosen_fields(self.fields) if self.fields else None

    @property
    def filters(self) -> Filters:
        """InvalidRequestError where a filter cannot be parsed."""
        return Filters(self.category, tuple(requirements(self.require)), self.exclude, self.parsed_filter)

    @property
    def parsed_filter(self) -> Filter | None:
        """The filter; None where there is none. InvalidRequestError where it cannot be parsed."""
        return parse_filter(self.filter) if self.filter else None

    @cached_property
    def depends_on_time(self) -> bool:
        return self.parsed_filter is not None and self.parsed_filter.depends_on_now

    def _sizes(self) -> list[int]:
        return [self.offset]

    @property
    def has_filters(self) -> bool:
        return bool(self.category or self.require or self.exclude or self.filter)

    @cached_property
    def cheap(self) -> bool:
        explained = getattr(self, "explain", False)
        return not (self.offset or self.has_filters) and self.k <= (CHEAP_EXPLAINED if explained else CHEAP)


class RecommendQuery(PagedQuery):
    """Options of /recommend."""

    exclude_seen: bool = Field(True, description="leave out items that the user has interacted with")
    explain: bool = Field(False, description="explain each item by contributions that sum to its score")
    counterfactual: bool = Field(
        False, description="with explain: the item's rank without each past item (scores the whole catalogue)"
    )
    diversity: float = Field(0.0, ge=0, le=1, description="0: by score alone; 1: by dissimilarity to the items above")
    diversity_by: By = Field("fused", description="the space of that similarity, as `by` of /similar")
    category_cap: int | None = Field(None, ge=1, description="maximum number of items of one category")
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="shuffle items of nearly equal score; the same seed gives the same order",
    )

    exploration: float = Field(
        0.0, ge=0, le=1, description="share of the places given to items that few have seen, to learn about them"
    )

    @cached_property
    def explores(self) -> bool:
        return self.exploration > 0

    @property
    def order(self) -> ListOrder:
        return ListOrder(self.diversity, self.diversity_by, self.category_cap, self.seed)

    @cached_property
    def plain(self) -> bool:
        """Whether the query is for the first page, unfiltered and by score."""
        return not (self.offset or self.has_filters or self.exploration) and self.order.plain

    @cached_property
    def cheap(self) -> bool:
        return super().cheap and self.order.plain and not (self.counterfactual or self.exploration)


class UserListQuery(RecommendQuery, ArmQuery):
    """Query of GET /recommend."""


class SimilarQuery(PagedQuery, ArmQuery):
    """Options of /similar."""

    by: By = Field("fused", description="fused, id, or a modality that the bundle has")
    explain: bool = Field(False, description="add the cosine in every space and the number of users in common")
    user_id: str | None = Field(None, min_length=1, description="leave out what this user has interacted with")


class TrendingQuery(PagedQuery):
    """Options of /trending."""

    half_life_hours: float | None = Field(
        None, ge=1, le=8_760, allow_inf_nan=False, description="half-life of an event's weight; unset: the setting"
    )

    @cached_property
    def cheap(self) -> bool:
        return super().cheap and self.half_life_hours is None


class SessionItem(BaseModel):
    """An item of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_id: ItemId
    weight: float = Field(1.0, gt=0, le=MAX_WEIGHT, description="relative to 1, the weight of a past item")


class BodyWithRules(RecommendQuery):
    """Options of /recommend, and rules for this request."""

    rules: Rules = Field(default=NO_RULES, description="pin, boost, block, require")

    def _sizes(self) -> list[int]:
        return [*super()._sizes(), sum(self.rules.entry_counts().values())]


class SessionBody(BodyWithRules):
    """A session, and options of /recommend for it."""

    user_id: str | None = Field(None, min_length=1, description="a known user whose profile the session is added to")
    items: tuple[SessionItem, ...] = Field((), description="viewed items, oldest first")
    liked: tuple[ItemId, ...] = ()
    disliked: tuple[ItemId, ...] = Field((), description="never shown; they lower the score of similar items")

    def _sizes(self) -> list[int]:
        return [*super()._sizes(), len(self.items) + len(self.liked) + len(self.disliked)]


class RankBody(SessionBody):
    """Candidates to order for a user or a session, and options of /recommend."""

    candidates: tuple[ItemId, ...] = Field(
        min_length=1, description="the items to order; of equal scores the one given first comes first"
    )
    exclude_seen: bool = Field(False, description="leave out candidates that the user has interacted with")

    def _sizes(self) -> list[int]:
        return [*super()._sizes(), len(self.candidates)]


class BatchBody(BodyWithRules):
    """Several users, and options of /recommend for all of them."""

    user_ids: tuple[str, ...] = Field(min_length=1)

    def _sizes(self) -> list[int]:
        return [*super()._sizes(), len(self.user_ids)]


Q = TypeVar("Q", bound=ListQuery)
P = TypeVar("P", bound=PagedQuery)


def with_k_limit(model: type[Q], settings: RankingSettings) -> type[Q]:
    """The query model with the operator's default and limit of k."""
    k = Field(settings.k_default, ge=1, le=settings.k_max, description="maximum number of items in the response")
    return create_model(model.__name__, __base__=model, __doc__=model.__doc__, k=(int, k))


def with_limits(model: type[P], settings: Settings) -> type[P]:
    """The query or body model with all limits that the operator set."""
    entries = Field((), max_length=settings.entries_max, fail_fast=True)
    fields: dict[str, Any] = {
        name: (Annotated[field.annotation, entries], field)
        for name, field in model.model_fields.items()
        if name in ("category", "require", "exclude", "fields", "items", "liked", "disliked")
    }
    if "user_ids" in model.model_fields:
        fields["user_ids"] = (tuple[str, ...], Field(min_length=1, max_length=settings.batch_max))
    if "rules" in model.model_fields:
        fields["rules"] = (rules_with_limit(settings.entries_max), model.model_fields["rules"])
    if "exploration" in model.model_fields:
        fields["exploration"] = (float, _with_default(model.model_fields["exploration"], settings.exploration))
    if "user_id" in model.model_fields:
        fields["user_id"] = (str | None, Field(None, min_length=1, max_length=settings.id_max_chars))
    return create_model(
        model.__name__,
        __base__=with_k_limit(model, settings),
        __doc__=model.__doc__,
        __validators__={"_limits": _depth_validator(settings)},
        **fields,
    )


def rank_body(settings: Settings) -> type[RankBody]:
    """The body of /rank with all limits; an unset k becomes the number of candidates."""
    most = min(settings.rank_max, settings.depth_max)

    def fill_k(body: Any) -> Any:
        n = min(len(body.candidates), most - body.offset)
        return body if body.k is not None else body.model_copy(update={"k": max(1, n)})

    validators: dict[str, Any] = {
        "_limits": model_validator(mode="after")(fill_k),
        "_depth": _depth_validator(settings),
    }
    candidates = Field(min_length=1, max_length=settings.rank_max, fail_fast=True)
    limited = with_limits(RankBody, settings)
    return create_model(
        RankBody.__name__,
        __base__=limited,
        __doc__=RankBody.__doc__,
        __validators__=validators,
        candidates=(Annotated[tuple[ItemId, ...], candidates], RankBody.model_fields["candidates"]),
        k=(int | None, Field(None, ge=1, le=most, description="maximum number of items; unset: all candidates")),
    )


def _with_default(field: FieldInfo, default: float) -> FieldInfo:
    """The field with the operator's default."""
    changed = copy(field)
    changed.default = default
    return changed


def _depth_validator(settings: RankingSettings) -> Any:
    def check(query: Any) -> Any:
        depth = query.offset + query.k
        if depth > settings.depth_max:
            raise ValueError(f"offset + k is {depth}, the limit is {settings.depth_max}")
        return query

    return model_validator(mode="after")(check)
