"""The gate's checks on recommendations: those of the new bundle and of the current one for a sample of users."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.gate_report import GateCheck, GateLimits
from index.item_index import ItemIndex

Array = np.ndarray[Any, Any]
Timer = Callable[[], float]

MAX_TRIES = 3  # of a search that takes too long: a pause of the machine happens once, a slow index stays slow


@dataclass(frozen=True)
class RecommendedLists:
    """The best unseen items of a sample of users by one bundle."""

    rows: Array  # (m, k) item rows, -1 where fewer are left
    seconds: Array  # (m,) duration of each search, the least of its tries

    def coverage(self, n_items: int) -> float:
        """The number of distinct items, divided by the most that these lists could hold."""
        return len(np.unique(self.rows[self.rows >= 0])) / min(n_items, self.rows.size)


def no_pause() -> None:
    """The `pause` where no other thread of the process waits."""


def recommended_lists(
    bundle: Bundle,
    index: ItemIndex,
    users: Array,
    k: int,
    *,
    timer: Timer,
    most_ms: float = math.inf,
    pause: Callable[[], None] = no_pause,
) -> RecommendedLists:
    """Search for each user row alone, as a request does; repeat a search that takes longer than `most_ms`.

    `pause` is called after each user.
    """
    rows = np.empty((len(users), k), np.int64)
    seconds = np.full(len(users), np.inf)
    for i, user in enumerate(users.tolist()):
        for _ in range(MAX_TRIES):
            start = timer()
            found, _ = index.search(bundle.user_embeddings[user], k, bundle.seen(user))
            seconds[i] = min(seconds[i], timer() - start)
            if seconds[i] * 1000 <= most_ms:
                break
        rows[i] = found[0]
        pause()
    return RecommendedLists(rows, seconds)


def choose_users(bundle: Bundle, current: Bundle | None, replay: Sequence[str], most: int) -> Array:
    """Rows of the sampled users: those of `replay` that the bundle knows, then evenly spaced ones up to `most`.

    Users whom the current bundle knows too come first, so that lists can be compared.
    """
    n = len(bundle.user_ids)
    replayed = bundle.user_ids.rows(list(dict.fromkeys(replay)))
    spread = np.linspace(0, n - 1, min(n, 2 * most)).astype(np.int64)
    rows = np.array(list(dict.fromkeys([*replayed[replayed >= 0].tolist(), *spread.tolist()])), np.int64)
    if current is not None:
        shared = current.user_ids.rows([bundle.user_ids[row] for row in rows.tolist()]) >= 0
        rows = np.concatenate([rows[shared], rows[~shared]])
    return rows[:most]


def list_checks(
    bundle: Bundle,
    index: ItemIndex,
    current: Bundle | None,
    limits: GateLimits,
    *,
    replay: Sequence[str] = (),
    timer: Timer = time.perf_counter,
) -> Iterator[GateCheck]:
    """Checks of search latency, coverage of the catalogue, and overlap with the current bundle's lists."""
    users = choose_users(bundle, current, replay, limits.sample_users)
    lists = recommended_lists(bundle, index, users, limits.list_length, timer=timer, most_ms=limits.search_p99_ms)
    p99 = float(np.percentile(lists.seconds, 99)) * 1000
    yield GateCheck(
        name="search p99",
        passed=p99 <= limits.search_p99_ms,
        found=f"{p99:.2f} ms over {len(users)} users",
        required=f"at most {limits.search_p99_ms:g} ms",
    )
    known = np.empty(0, np.int64)
    if current is not None:
        known = current.user_ids.rows([bundle.user_ids[row] for row in users.tolist()])
    if current is None or not (known >= 0).any():
        why = "nothing serves yet" if current is None else "not compared: no user is known to both bundles"
        yield _coverage(lists, bundle, None, limits)
        yield GateCheck(name="overlap of lists", passed=True, found="not measured", required=why)
        return
    both = known >= 0
    old = recommended_lists(current, current.index(), known[both], limits.list_length, timer=timer)
    yield _coverage(lists, bundle, old.coverage(len(current.item_ids)), limits)
    yield _overlap(bundle, lists.rows[both], current, old.rows, limits)


def _coverage(lists: RecommendedLists, bundle: Bundle, current: float | None, limits: GateLimits) -> GateCheck:
    share = lists.coverage(len(bundle.item_ids))
    floor = max(limits.coverage_floor, (current or 0.0) * limits.coverage_kept)
    beside = "" if current is None else f"; the current bundle covers {current:.1%}"
    return GateCheck(
        name="coverage of items",
        passed=share >= floor,
        found=f"the lists cover {share:.1%} of the items that they could",
        required=f"at least {floor:.1%}{beside}",
    )


def _overlap(bundle: Bundle, new: Array, current: Bundle, old: Array, limits: GateLimits) -> GateCheck:
    shares = [
        common_share(ours, theirs) for ours, theirs in zip(ids_of(bundle, new), ids_of(current, old), strict=True)
    ]
    mean = float(np.mean(shares))
    return GateCheck(
        name="overlap of lists",
        passed=limits.overlap_floor <= mean <= limits.overlap_ceiling,
        found=f"{mean:.1%} of the top {new.shape[1]}, {len(shares)} users that both bundles know",
        required=f"{limits.overlap_floor:.0%} to {limits.overlap_ceiling:.0%}",
    )


def ids_of(bundle: Bundle, lists: Array) -> Iterator[list[str]]:
    """The item ids of each list of rows (m, k), without the -1 of places that are empty."""
    return ([bundle.item_ids[row] for row in rows if row >= 0] for rows in lists.tolist())


def common_share(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """The number of items that both lists have, divided by the length of the longer one."""
    return len(set(ours) & set(theirs)) / max(len(ours), len(theirs), 1)


def size_checks(bundle: Bundle, current: Bundle | None, limits: GateLimits) -> Iterator[GateCheck]:
    """Checks that the numbers of items and users did not fall by more than the limits allow."""
    for what, lost in (("items", limits.items_lost), ("users", limits.users_lost)):
        new = getattr(bundle.manifest, f"n_{what}")
        floor, required = 0, "nothing serves yet"
        if current is not None:
            old = getattr(current.manifest, f"n_{what}")
            floor = -int(-old * (1 - lost) // 1)
            required = f"at least {floor:,}: {old:,} of the current bundle, less {lost:.0%}"
        yield GateCheck(name=f"number of {what}", passed=new >= floor, found=f"{new:,}", required=required)
