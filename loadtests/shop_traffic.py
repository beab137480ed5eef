"""The requests of a shop's visitors: recommendations, similar items and events, in fixed shares."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from loadtests.random_bundle import RandomBundleSizes, item_id, user_id
from loadtests.workloads import raw, zipf_rows

RECOMMEND, SIMILAR, EVENT = "recommend", "similar", "event"
SHARES = {RECOMMEND: 0.80, SIMILAR: 0.12, EVENT: 0.08}  # of all requests
VISIT_LENGTH = 5.0  # requests of a visit, on average
VISITOR_CYCLE = 50_000  # visitors, before the same ones come again in the same order


def visit(rng: random.Random) -> Iterator[str]:
    """Yield the kinds of one visit's requests; the first is for recommendations, and the length is geometric.

    As each visit starts with recommendations, later requests are for them less often: over many visits the shares are
    SHARES.
    """
    later = {kind: share - (kind == RECOMMEND) / VISIT_LENGTH for kind, share in SHARES.items()}
    yield RECOMMEND
    while rng.random() < 1 - 1 / VISIT_LENGTH:
        yield from rng.choices(list(later), list(later.values()))


def visitors(user_ids: Sequence[str], seed: int, start: int) -> Iterator[str]:
    """Yield users by Zipf's law, without end.

    With equal seeds the same users are frequent; `start` is the position in the cycle of visitors.
    """
    rows = zipf_rows(len(user_ids), VISITOR_CYCLE, np.random.default_rng(seed)).tolist()
    while True:
        yield user_ids[rows[start % VISITOR_CYCLE]]
        start += 1


def requests(sizes: RandomBundleSizes, key: str, n: int, rng: np.random.Generator) -> list[bytes]:
    """Return n independent requests in the same shares, with users and items by Zipf's law, as raw HTTP."""
    users, items = zipf_rows(sizes.n_users, n, rng).tolist(), zipf_rows(sizes.n_items, n, rng).tolist()
    kinds = rng.choice(list(SHARES), n, p=list(SHARES.values())).tolist()
    return [
        _request(kind, user_id(user), item_id(item), key) for kind, user, item in zip(kinds, users, items, strict=True)
    ]


def _request(kind: str, user: str, item: str, key: str) -> bytes:
    if kind == EVENT:
        return raw("/events", key=key, body=orjson.dumps({"user_id": user, "item_id": item, "kind": "click"}))
    return raw(f"/recommend/{user}" if kind == RECOMMEND else f"/similar/{item}", key=key)
