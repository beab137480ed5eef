"""The workloads of the benchmark: kinds of requests as cycles of raw HTTP, with users and items by Zipf's law."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import orjson

from loadtests.baseline_app import PATH
from loadtests.bench_servers import BARE, BASELINE, SHIPPED, UNCACHED
from loadtests.random_bundle import RandomBundleSizes, heavy_users, item_id, user_id

Array = np.ndarray[Any, Any]

QUICK_REQUESTS = 500  # the length of a cycle in a --quick benchmark
WARM_UP = 1_000  # requests, for workloads that do not depend on the response cache; the others send all of theirs
ZIPF = 1.0  # the r-th most active user sends 1/r as many requests as the first: page views of shops are close to it
RECOMMEND = "recommend"
FOLD_IN_USERS = 1_000
EVENTS_EACH = 30  # as many as known users have seen
FOLD_IN_USERS_PER_REQUEST = 20


@dataclass(frozen=True)
class Workload:
    """Requests of one kind. The iterator continues where the last measurement stopped."""

    name: str
    server: str  # its name in `BenchServers`
    requests: Iterator[bytes]
    warm_up: Sequence[bytes]  # sent before anything is measured
    cold: bool = False  # measured with an empty Redis


def make_workloads(
    sizes: RandomBundleSizes, *, k: int, n_requests: int, key: str, rng: np.random.Generator
) -> tuple[Workload, ...]:
    """Return all workloads, the baseline first. `n_requests` is the length of a cycle."""
    users = [user_id(row) for row in zipf_rows(sizes.n_users, n_requests, rng).tolist()]
    items = [item_id(row) for row in zipf_rows(sizes.n_items, n_requests, rng).tolist()]

    def of(name: str, server: str, paths: list[str], warm_up: int = WARM_UP, *, cold: bool = False) -> Workload:
        return workload(name, server, [raw(path, key=key) for path in paths], warm_up, cold=cold)

    fold_in_users = [fold_in_user(row) for row in zipf_rows(FOLD_IN_USERS, n_requests, rng).tolist()]
    recommend, fold_in = _recommend_to(users, k), _recommend_to(fold_in_users, k)
    explain = [f"{path}&explain=true" for path in recommend]
    similar = [f"/similar/{item}?k={k}" for item in items]
    return (
        workload(BASELINE, BASELINE, [raw(PATH)]),
        of(RECOMMEND, SHIPPED, recommend, n_requests),
        of("explain", SHIPPED, explain, n_requests),
        of("similar", SHIPPED, similar, n_requests),
        of("fold-in", SHIPPED, fold_in),
        of("unknown user", SHIPPED, _recommend_to([f"unknown-{number}" for number in range(n_requests)], k)),
        of("recommend, uncached", UNCACHED, recommend, n_requests),
        of("explain, uncached", UNCACHED, explain),
        of("similar, uncached", UNCACHED, similar),
        of("fold-in, uncached", UNCACHED, fold_in, n_requests),
        *(of(f"{n:,} seen, uncached", UNCACHED, _recommend_to(heavy_users(n), k)) for n in sizes.heavy),
        of("recommend, bare", BARE, recommend, n_requests),
        of("fold-in, bare", BARE, fold_in),
        of("cold cache", BARE, _recommend_to(uncached_users(sizes, users, rng), k), 0, cold=True),
    )


def _recommend_to(users: Sequence[str], k: int) -> list[str]:
    return [f"/recommend/{user}?k={k}" for user in users]


def fold_in_user(number: int) -> str:
    """Return the id of a user who has events but is not in the bundle."""
    return f"fold-in-user-{number}"


def events(sizes: RandomBundleSizes, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield bodies for POST /events with the events of the fold-in users."""
    for number in range(0, FOLD_IN_USERS, FOLD_IN_USERS_PER_REQUEST):
        rows = range(number, min(number + FOLD_IN_USERS_PER_REQUEST, FOLD_IN_USERS))
        drawn = zipf_rows(sizes.n_items, len(rows) * EVENTS_EACH, rng).reshape(len(rows), EVENTS_EACH)
        yield orjson.dumps(
            [
                {"user_id": fold_in_user(row), "item_id": item_id(item), "kind": "click"}
                for row, items in zip(rows, drawn.tolist(), strict=True)
                for item in items
            ]
        )


def uncached_users(sizes: RandomBundleSizes, users: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return all other users, or all users where there are no others: in turn, they are in no cache."""
    every_user = [user_id(row) for row in rng.permutation(sizes.n_users).tolist()]
    known = set(users)
    return [user for user in every_user if user not in known] or every_user


def workload(
    name: str, server: str, requests: Sequence[bytes], warm_up: int = WARM_UP, *, cold: bool = False
) -> Workload:
    """Return a workload that repeats the requests; the warm-up sends so many distinct ones."""
    return Workload(name, server, cycle(requests), list(dict.fromkeys(requests))[:warm_up], cold)


def raw(path: str, *, key: str | None = None, body: bytes | None = None) -> bytes:
    """Return an HTTP/1.1 request: GET, or POST with a JSON body."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: bench"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def zipf_rows(n_rows: int, n: int, rng: np.random.Generator) -> Array:
    """Draw n of the rows 0..n_rows-1, the r-th most frequent in proportion to r^-ZIPF; which row is r-th is random."""
    weights = np.arange(1, n_rows + 1) ** -ZIPF
    return rng.permutation(n_rows)[rng.choice(n_rows, n, p=weights / weights.sum())]
