"""What is asked: kinds of requests, each a cycle of raw HTTP, with users and items by Zipf's law."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from loadtests.random_bundle import Sizes, item_id, user_id
from loadtests.yardstick import PATH

Array = np.ndarray[Any, Any]

WARM_UP = 1_000  # of the kinds that share what the first one has warmed
ZIPF = 1.0  # the r-th most active user asks 1/r as often as the first: page views of shops are near to it
YARDSTICK = "empty"
RECOMMEND = "recommend"


@dataclass(frozen=True)
class Workload:
    """Requests of one kind. The iterator goes on where the last measurement left it."""

    name: str
    requests: Iterator[bytes]
    warm_up: Sequence[bytes]  # asked before anything is measured
    on_yardstick: bool = False
    cold: bool = False  # to be asked with Redis empty


def make_workloads(sizes: Sizes, *, k: int, n_requests: int, rng: np.random.Generator) -> tuple[Workload, ...]:
    """Every kind of request, the yardstick first. `n_requests` is the length of a cycle."""
    users = [user_id(row) for row in zipf_rows(sizes.n_users, n_requests, rng).tolist()]
    items = [item_id(row) for row in zipf_rows(sizes.n_items, n_requests, rng).tolist()]
    everybody = [user_id(row) for row in rng.permutation(sizes.n_users).tolist()]
    return (
        _workload(YARDSTICK, [PATH], on_yardstick=True),
        _workload(RECOMMEND, [f"/recommend/{user}?k={k}" for user in users], warm_up=n_requests),
        _workload("explain", [f"/recommend/{user}?k={k}&explain=true" for user in users]),
        _workload("similar", [f"/similar/{item}?k={k}" for item in items]),
        # Everybody before anybody again: no answer finds its vector in Redis.
        _workload("cold cache", [f"/recommend/{user}?k={k}" for user in everybody], warm_up=0, cold=True),
        _workload("unknown user", [f"/recommend/nobody-{number}?k={k}" for number in range(n_requests)]),
    )


def _workload(name: str, paths: list[str], *, warm_up: int = WARM_UP, **kind: bool) -> Workload:
    requests = [raw(path) for path in paths]
    return Workload(name, cycle(requests), list(dict.fromkeys(requests))[:warm_up], **kind)


def raw(path: str) -> bytes:
    """A GET as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def zipf_rows(n_rows: int, n: int, rng: np.random.Generator) -> Array:
    """n of the rows 0..n_rows-1, the r-th most frequent of them in proportion to r^-ZIPF; which row is r is random."""
    weights = np.arange(1, n_rows + 1) ** -ZIPF
    return rng.permutation(n_rows)[rng.choice(n_rows, n, p=weights / weights.sum())]
