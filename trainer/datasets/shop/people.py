"""Simulates the demo shop: users with tastes, who buy over two years."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainer.datasets.shop.catalogue import ShopCatalogue
from trainer.datasets.shop.vocabulary import FACETS

OPENING = 1_640_995_200  # 2022-01-01T00:00:00Z
DAY = 86_400
DAYS = 730
# How much a facet moves the people of this shop, on average; each person has individual weights about these.
WEIGHTS: Mapping[str, float] = {
    "category": 1.2,
    "colour": 0.7,
    "pattern": 1.4,
    "shape": 0.6,
    "material": 0.8,
    "style": 1.4,
    "use": 0.7,
    "brand": 0.8,
}
SHARPNESS = 3.5  # standard deviations of utility against unit Gumbel noise in each choice
CONSIDERED = 200  # products looked at in one visit
POPULARITY_EXPONENT = 0.6  # of the Zipf-like law by which products come into view
TREND = 0.8  # height of the seasons of a style, in the same units as utility
NEW_SHARE = 0.1  # products that arrived in the last weeks, of which only a few were delivered so far
NEW_DAYS = 30
NEW_STOCK = 4
VISIT_ITEMS = 3.0  # mean number of products bought in a visit


@dataclass(frozen=True)
class People:
    """What people like, when they joined, how much they buy.

    `tastes[facet]` (n_users, n_values): larger is preferred.
    """

    tastes: Mapping[str, NDArray[np.float64]]
    joined: NDArray[np.float64]  # (n_users,) days after the opening
    purchases: NDArray[np.int64]  # (n_users,)

    def utility(self, catalogue: ShopCatalogue) -> NDArray[np.float64]:
        """How much each person would like each product: (n_users, n_items), each row of mean 0 and deviation 1."""
        total = sum(self.tastes[facet][:, catalogue.codes[facet]] for facet in FACETS)
        centred = total - np.mean(total, axis=1, keepdims=True)
        scaled: NDArray[np.float64] = centred / centred.std(axis=1, keepdims=True)
        return scaled


@dataclass(frozen=True)
class Assortment:
    """The arrival, stock and popularity of every product."""

    arrived: NDArray[np.float64]  # (n_items,) days after the opening
    stock: NDArray[np.int64]  # (n_items,)
    renown: NDArray[np.float64]  # (n_items,) log weight of coming into view


@dataclass(frozen=True)
class Purchases:
    """Parallel arrays in time order; no user buys an item twice."""

    user_rows: NDArray[np.int64]
    item_rows: NDArray[np.int64]
    timestamps: NDArray[np.int64]  # unix seconds


def draw_people(random: Generator, n_users: int, n_interactions: int, least: int) -> People:
    """Draw people who share n_interactions purchases unevenly, at least `least` each."""
    tastes = {}
    for facet, values in FACETS.items():
        stretch = WEIGHTS[facet] * random.gamma(4.0, 0.25, size=(n_users, 1))  # mean 1, deviation 1/2
        tastes[facet] = stretch * random.normal(size=(n_users, len(values)))
    eagerness = random.lognormal(0.0, 0.7, n_users)
    more = random.multinomial(n_interactions - least * n_users, eagerness / eagerness.sum())
    return People(tastes, joined=random.uniform(0, 0.85 * DAYS, n_users), purchases=least + more)


def draw_assortment(random: Generator, n_items: int) -> Assortment:
    """Draw products that arrive over the two years, a third at the opening; the last tenth is new and scarce."""
    arrived = np.sort(np.maximum(0, random.uniform(-0.5 * DAYS, DAYS - NEW_DAYS, n_items)))
    stock = np.full(n_items, np.iinfo(np.int64).max)
    new = slice(n_items - round(NEW_SHARE * n_items), n_items)
    arrived[new] = np.sort(random.uniform(DAYS - NEW_DAYS, DAYS, len(arrived[new])))
    stock[new] = random.integers(NEW_STOCK + 1, size=len(arrived[new]))
    renown = -POPULARITY_EXPONENT * np.log(1 + random.permutation(n_items))
    return Assortment(arrived, stock, renown)


def buy(random: Generator, people: People, catalogue: ShopCatalogue, assortment: Assortment) -> Purchases:
    """Simulate all visits in the order of time, until every user has made their purchases.

    A visitor considers CONSIDERED products in stock, popular ones more often, and buys those with the largest sum of
    utility, seasonal trend of the style, and Gumbel noise (a multinomial logit choice).
    """
    utility = SHARPNESS * people.utility(catalogue)  # (n_users, n_items)
    season = _seasons(random)
    left, bought = assortment.stock.copy(), np.zeros(utility.shape, dtype=np.bool_)
    rows: list[tuple[int, NDArray[np.int64], int]] = []
    for user, day, wanted in _visits(random, people):
        view = assortment.renown + random.gumbel(size=len(catalogue))
        view[(assortment.arrived > day) | (left <= 0) | bought[user]] = -np.inf
        considered = np.argsort(-view)[: max(CONSIDERED, wanted)]
        considered = considered[view[considered] > -np.inf]
        trend = season(day)[catalogue.codes["style"][considered]]
        pleases = utility[user, considered] + trend + random.gumbel(size=len(considered))
        taken = considered[np.argsort(-pleases)[:wanted]]
        left[taken] -= 1
        bought[user, taken] = True
        rows.append((user, taken, OPENING + int(day * DAY)))
    return _in_columns(random, rows)


def _visits(random: Generator, people: People) -> list[tuple[int, float, int]]:
    """(user row, day, how many to buy) of every visit, in the order of time."""
    visits = []
    for user, (joined, wanted) in enumerate(zip(people.joined, people.purchases, strict=True)):
        n_visits = max(1, round(wanted / VISIT_ITEMS))
        days = np.concatenate([[joined], random.uniform(joined, DAYS, n_visits - 1)])
        baskets = random.multinomial(wanted, np.full(n_visits, 1 / n_visits))
        visits += [(user, float(day), int(basket)) for day, basket in zip(days, baskets, strict=True) if basket]
    return sorted(visits, key=lambda visit: visit[1])


def _seasons(random: Generator) -> Callable[[float], NDArray[np.float64]]:
    """The utility that fashion adds to each style by day; a style's waves last from half a year to two years."""
    n_styles = len(FACETS["style"])
    phase, length = random.uniform(0, 2 * np.pi, n_styles), random.uniform(0.25 * DAYS, DAYS, n_styles)
    return lambda day: TREND * np.sin(phase + 2 * np.pi * day / length)


def _in_columns(random: Generator, visits: Sequence[tuple[int, NDArray[np.int64], int]]) -> Purchases:
    users = np.concatenate([np.full(len(items), user) for user, items, _ in visits])
    items = np.concatenate([items for _, items, _ in visits])
    minutes = [60 * np.sort(random.integers(1, 45, len(items))) for _, items, _ in visits]
    times = np.concatenate([second + minute for (_, _, second), minute in zip(visits, minutes, strict=True)])
    order = np.argsort(times, kind="stable")
    return Purchases(users[order], items[order], times[order])
