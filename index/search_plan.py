"""How to search without excluded rows, by measured cost (docs/measurements/search.md).

Either fetch more rows and drop those not allowed, or restrict the search to allowed rows by a bitmap, or score every
allowed row. The last is exact with any index.
"""

from math import isqrt
from typing import NamedTuple

from index.engine import Engine

# Up to about a hundred excluded rows it is faster to fetch more rows and drop them; beyond, a bitmap is (20,000 items
# of 64: 30 rows 0.11 against 0.21 ms, 10,000 rows 1.95 against 0.13 ms).
MAX_OVERFETCH = 128
# Extra candidates, so that near ties at the cut rarely cause a second search.
SPARE = 16
# An exhaustive index is slower with a bitmap than scoring the allowed rows where these are one in so many.
SCORED_SHARE = 8
# An approximate search among r of n rows takes n / r times the effort and more, so that it sees as many: without,
# recall@20 fell from .99 to .91 within a quarter of 1,000,000 items far from the queries. Scoring r rows costs as much
# at r from 44 (20,000 items) to 100 (1,000,000) times the root of n, and is exact.
SCORED_ROOT = 64
# Large indexes wait for memory, and a bitmap keeps them from reading ahead: within a row in SCORED_SHARE or more, they
# fetch more first (1,000,000 items, half of them allowed, exhaustive: 8.5 against 20.5 ms; 20,000: no difference).
OVERFETCH_FROM = 200_000
_FURTHER = 1.5  # times the effort: what a filter leaves may be in lists that are probed late
_MARGIN = 2  # times as many rows as a share of allowed rows spread evenly would need


class Plan(NamedTuple):
    """How many rows to fetch, 0 for scoring the allowed ones; whether the search is restricted to these; its effort."""

    fetch: int
    select: bool = False
    effort: float = 1.0  # times nprobe or ef_search


SCORE = Plan(0)


def is_scored(engine: Engine, n: int, n_allowed: int) -> bool:
    """Whether n_allowed rows of n are better scored each than searched."""
    return n_allowed <= (n // SCORED_SHARE if engine.exhaustive else SCORED_ROOT * isqrt(n))


def fetches_more(n: int, n_within: int) -> bool:
    """Whether a search within n_within rows of n may fetch more and drop those not allowed."""
    return n >= OVERFETCH_FROM and n_within * SCORED_SHARE >= n


def plan_search(engine: Engine, n: int, k: int, n_excluded: int, n_within: int | None) -> Plan:
    """The plan for one query that excludes so many rows, hidden ones included, and may be restricted to n_within."""
    need = engine.rerank * k + SPARE
    if n_within is not None:
        share = n / n_within
        over = fetches_more(n, n_within) and n_excluded <= MAX_OVERFETCH
        if over or not engine.takes_selector:
            need += min(n_excluded, MAX_OVERFETCH)
            return Plan(_fetch(n, int(need * _MARGIN * share)), effort=_FURTHER * share)
        return Plan(_fetch(n, need), select=True, effort=_FURTHER * share)
    if not engine.takes_selector or n_excluded <= MAX_OVERFETCH:
        return Plan(_fetch(n, need + min(n_excluded, MAX_OVERFETCH)))
    if is_scored(engine, n, n - n_excluded):
        return SCORE
    return Plan(_fetch(n, need), select=True, effort=n / (n - n_excluded))


def _fetch(n: int, need: int) -> int:
    """Rounded up to a power of two, so that queries with different numbers of exclusions share a search."""
    return min(n, 1 << (need - 1).bit_length())
