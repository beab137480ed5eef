"""What a request costs, in tokens: about half a millisecond of computing each. A list of up to 250 items costs one.

The prices are rounded measurements (docs/measurements/load.md); docs/serving.md tells callers the same.
"""

from typing import Any

from service.errors import TooCostlyError
from service.http.requests import BatchBody, BodyWithRules, PagedQuery, RankBody, RecommendQuery, SessionBody
from service.http.route import Request
from service.state import Service

ITEMS = 250  # of a list, for a token
EXPLAINED = 25  # items explained, for a token
SCORED = 250_000  # items of the catalogue that counterfactuals score, for a token
SCORED_FOR_ALL = 20  # times that the catalogue is scored for counterfactuals of any number of items
ENTRIES = 50  # of filters, rules and sessions, for a token
HALF_LIFE = 20.0  # for ranking all trending items by a half-life of the request's own
FILTERED = 10_000_000  # items compared with one value of a filter, for a token
REORDERED = 2.0  # for diversity, a category cap or a seed
EXPLORED = 1.0  # for exploration


def list_cost(service: Service, request: Request[Any]) -> int:
    """The cost of one list, or of one for each user of a batch; TooCostlyError says how to get below the limit."""
    query: PagedQuery = request.query if request.body is None else request.body
    n_users = len(query.user_ids) if isinstance(query, BatchBody) else 1
    n_items = len(request.loaded.bundle.item_ids)
    each, once = _cost_of_one(query, n_items), _n_entries(query) / ENTRIES + _filter_work(query) * n_items / FILTERED
    cost, limit = max(1, int(n_users * each + once)), service.settings.request_cost_max
    if cost > limit:
        raise TooCostlyError(
            f"this request costs {cost}, the limit is {limit} (RECO_REQUEST_COST_MAX): {_asked(query, n_users)}; "
            f"expected {_advice(query, int(limit / each))}"
        )
    return cost


def _asked(query: PagedQuery, n_users: int) -> str:
    users = f"{n_users} users x " if isinstance(query, BatchBody) else ""
    return f"{users}{query.k} items{' with ' if _options(query) else ''}{', '.join(_options(query))}"


def _options(query: PagedQuery) -> list[str]:
    """The options that add to the cost, the most expensive first."""
    if not isinstance(query, RecommendQuery):
        return [name for name in ("explain",) if getattr(query, name, False)]
    used = {
        "counterfactual": query.explain and query.counterfactual,
        "explain": query.explain,
        "diversity": bool(query.diversity),
        "category_cap": query.category_cap is not None,
        "seed": query.seed is not None,
        "exploration": bool(query.exploration),
    }
    return [name for name, is_used in used.items() if is_used]


def _advice(query: PagedQuery, most_users: int) -> str:
    users = f"at most {most_users} users at once, " if isinstance(query, BatchBody) and most_users else ""
    without = f" or no {_options(query)[0]}" if _options(query) else ""
    return f"{users}a smaller k{without}"


def _cost_of_one(query: PagedQuery, n_items: int) -> float:
    depth = query.offset + query.k
    cost = 1 + depth / ITEMS
    if getattr(query, "explain", False):
        cost += query.k / EXPLAINED
    if getattr(query, "half_life_hours", None) is not None:
        cost += HALF_LIFE
    if isinstance(query, RecommendQuery):
        if not query.order.plain:
            cost += REORDERED + depth / ITEMS
        if query.exploration:
            cost += EXPLORED
        if query.explain and query.counterfactual:
            cost += (query.k + SCORED_FOR_ALL) * n_items / SCORED
    return cost


def _filter_work(query: PagedQuery) -> int:
    return 0 if query.parsed_filter is None else query.parsed_filter.work


def _n_terms(query: PagedQuery) -> int:
    return 0 if query.parsed_filter is None else query.parsed_filter.n_terms


def _n_entries(query: PagedQuery) -> int:
    n = len(query.category) + len(query.require) + len(query.exclude) + _n_terms(query)
    if isinstance(query, BodyWithRules):
        n += sum(query.rules.entry_counts().values())
    if isinstance(query, SessionBody):
        n += len(query.items) + len(query.liked) + len(query.disliked)
    if isinstance(query, RankBody):
        n += len(query.candidates)
    return n
