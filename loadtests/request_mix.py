"""A random mix of all kinds of requests, errors included, in which requests are rarely repeated."""

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import orjson

from loadtests.random_bundle import RandomBundleSizes, item_id, user_id
from loadtests.workloads import fold_in_user, raw

FOLD_IN_USERS = 20_000  # unknown users who send events
KINDS = ("view", "click", "like", "purchase", "dislike", "impression")


class MixRequest(NamedTuple):
    """One request and the status that its response must have."""

    kind: str
    request: bytes
    status: int


MakeRequest = Callable[[], tuple[bytes, int]]


def request_mix(sizes: RandomBundleSizes, key: str, rng: random.Random) -> Iterator[MixRequest]:
    """Yield requests of random kinds, without end. Users and items are uniform, so that no cache holds them all."""
    kinds = _kinds(sizes, key, rng)
    names, weights = list(kinds), [weight for weight, _ in kinds.values()]
    while True:
        for name in rng.choices(names, weights, k=1_000):
            yield MixRequest(name, *kinds[name][1]())


def _kinds(sizes: RandomBundleSizes, key: str, rng: random.Random) -> dict[str, tuple[int, MakeRequest]]:
    """Return, by name, the percentage of requests and a function that makes one."""
    number = count()

    def get(path: str, status: int = 200) -> tuple[bytes, int]:
        return raw(path, key=key), status

    def user() -> str:
        return user_id(rng.randrange(sizes.n_users))

    def item() -> str:
        return item_id(rng.randrange(sizes.n_items))

    def event() -> tuple[bytes, int]:
        sender = fold_in_user(rng.randrange(FOLD_IN_USERS)) if rng.random() < 0.5 else user()
        body = {"event_id": str(next(number)), "user_id": sender, "item_id": item(), "kind": rng.choice(KINDS)}
        return raw("/events", key=key, body=orjson.dumps(body)), 202

    return {
        "recommend": (40, lambda: get(f"/recommend/{user()}?k={rng.randint(5, 30)}")),
        "explain": (10, lambda: get(f"/recommend/{user()}?k=10&explain=true")),
        "fold-in": (10, lambda: get(f"/recommend/{fold_in_user(rng.randrange(FOLD_IN_USERS))}")),
        "similar": (15, lambda: get(f"/similar/{item()}?k={rng.randint(5, 30)}")),
        "unknown user": (5, lambda: get(f"/recommend/unknown-{rng.getrandbits(64)}")),
        "events": (10, event),
        "unknown item": (3, lambda: get(f"/similar/unknown-{rng.getrandbits(64)}", 404)),
        "unknown route": (1, lambda: get(f"/nowhere/{rng.getrandbits(64)}", 404)),
        "bad parameter": (2, lambda: get(f"/recommend/{user()}?k={-rng.getrandbits(31)}", 422)),
        "bad event": (2, lambda: (raw("/events", key=key, body=b'{"user_id": %d}' % rng.getrandbits(64)), 422)),
        "no key": (1, lambda: (raw(f"/recommend/{user()}"), 401)),
        "unknown key": (1, lambda: (raw(f"/recommend/{user()}", key=f"reco_{rng.getrandbits(128):x}"), 401)),
    }
