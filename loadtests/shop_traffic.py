"""What visitors of a shop do: who comes how often, and what one visit asks for."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from loadtests.random_bundle import BundleSizes, item_id, user_id
from loadtests.workloads import raw, zipf_rows

RECOMMEND, SIMILAR, EVENT = "recommend", "similar", "event"
SHARES = {RECOMMEND: 0.80, SIMILAR: 0.12, EVENT: 0.08}  # of all requests
VISIT_LENGTH = 5.0  # requests of a visit, on average
VISITOR_CYCLE = 50_000  # visitors, before the same ones come in the same order again


def visit(rng: random.Random) -> Iterator[str]:
    """The kinds of one visit's requests: it opens with recommendations, and has no memory of how long it is already.

    Since each begins with recommendations, fewer of those come later: over many visits the shares are SHARES.
    """
    later = {kind: share - (kind == RECOMMEND) / VISIT_LENGTH for kind, share in SHARES.items()}
    yield RECOMMEND
    while rng.random() < 1 - 1 / VISIT_LENGTH:
        yield from rng.choices(list(later), list(later.values()))


def visitors(user_ids: Sequence[str], seed: int, start: int) -> Iterator[str]:
    """Users by Zipf's law without end.

    All that have the same seed agree on who comes often; where each starts in the row of visitors is its own affair.
    """
    rows = zipf_rows(len(user_ids), VISITOR_CYCLE, np.random.default_rng(seed)).tolist()
    while True:
        yield user_ids[rows[start % VISITOR_CYCLE]]
        start += 1


def requests(sizes: BundleSizes, key: str, n: int, rng: np.random.Generator) -> list[bytes]:
    """n requests in the same shares, by users and of items by Zipf's law, as they go over the wire.

    Each stands alone: who does not wait for answers has none to look closer at.
    """
    users, items = zipf_rows(sizes.n_users, n, rng).tolist(), zipf_rows(sizes.n_items, n, rng).tolist()
    kinds = rng.choice(list(SHARES), n, p=list(SHARES.values())).tolist()
    return [
        _request(kind, user_id(user), item_id(item), key) for kind, user, item in zip(kinds, users, items, strict=True)
    ]


def _request(kind: str, user: str, item: str, key: str) -> bytes:
    if kind == EVENT:
        return raw("/events", key=key, body=orjson.dumps({"user_id": user, "item_id": item, "kind": "click"}))
    return raw(f"/recommend/{user}" if kind == RECOMMEND else f"/similar/{item}", key=key)
