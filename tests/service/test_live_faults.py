"""Redis is hurt while a service process answers from it: events, vectors, hidden items and news all live there.

Every answer is right, comes in good time, and none is an error; what a user did may be forgotten while Redis is away,
and is known again when it is back, unless Redis itself forgot it.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from asking import Told, load
from bundles import make_content
from lively import naive
from processes import process
from servers import Valkey, counted, publish, serving, wait_until

from index.bundle import Bundle

HIDDEN = "item-5"
DOERS = [f"user-{row}" for row in range(5)]  # of whom there are events
SETTINGS = {
    "admin_open": True,
    "event_log": "redis",
    "event_log_timeout_s": 1,
    "redis_retry_s": 0.2,
    "redis_budget_ms": 20,
    "live_poll_s": 0.2,
    "lru_stale_s": 0.4,
}


@dataclass
class Truth:
    """What may come first for a user: with events or, where nothing can be read of these, without."""

    bundle: Bundle
    did: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def first(self, user_id: str, *, with_events: bool) -> str:
        vector, past, excluded = naive(self.bundle, user_id, self.did[user_id] if with_events else [])
        scores = self.bundle.item_embeddings @ vector
        hidden = self.bundle.item_ids.row(HIDDEN)
        assert hidden is not None
        scores[[*past, *excluded, hidden]] = -np.inf
        return self.bundle.item_ids[int(scores.argmax())]


@contextmanager
def killed(valkey: Valkey) -> Iterator[None]:
    valkey.kill()
    yield
    valkey.start()


@contextmanager
def frozen(valkey: Valkey) -> Iterator[None]:
    pid = valkey.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def full(valkey: Valkey) -> Iterator[None]:
    with valkey.client() as client:
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


def flushed(valkey: Valkey) -> nullcontext[None]:
    with valkey.client() as client:
        client.flushall()
    return nullcontext()


def of_other_types(valkey: Valkey) -> nullcontext[None]:
    """Under every key but those of the log itself, whose loss is that of `flushed`."""
    with valkey.client() as client:
        for key in client.scan_iter():
            if not (b":events}:" in key and b":user:" not in key):
                kind = client.type(key)
                with client.pipeline(transaction=True) as at_once:  # or the service writes it anew between the two
                    at_once.delete(key)
                    at_once.set(key, "x") if kind != b"string" else at_once.lpush(key, "x")
                    at_once.execute()
    return nullcontext()


def post(client: httpx.Client, user_id: str, item_id: str, kind: str, event_id: str) -> int:
    event = {"user_id": user_id, "item_id": item_id, "kind": kind, "event_id": event_id}
    return client.post("/events", json=event).status_code


FAULTS = {"killed": killed, "frozen": frozen, "full": full, "flushed": flushed, "of other types": of_other_types}
REFUSING = ("killed", "frozen", "full")
FORGETTING = ("flushed", "of other types")


@pytest.mark.parametrize(
    ("fault", "profile_cache_mb"), [*((fault, 0) for fault in FAULTS), ("killed", 1), ("frozen", 1)]
)
def test_whatever_happens_to_redis_answers_are_right_and_in_time_and_events_are_felt_again(
    registry: Path, bundle: Bundle, tmp_path: Path, fault: str, profile_cache_mb: int
) -> None:
    valkey = Valkey(tmp_path / "valkey", config={"appendonly": "yes", "appendfsync": "always"}).start()
    settings = SETTINGS | {"redis_url": valkey.url, "profile_cache_mb": profile_cache_mb, "data": tmp_path / "data"}
    truth = Truth(bundle)
    try:
        with process(registry, tmp_path / "log", **settings) as (_, client):
            assert client.put(f"/items/{HIDDEN}/hidden").status_code == 200
            for user_id in DOERS:
                did(client, truth, user_id, "item-20", "like")
            with load(client) as answers:
                more(answers, 100)
                with FAULTS[fault](valkey):
                    more(answers, 150)
                    if fault in REFUSING:
                        assert post(client, "new", "item-30", "like", "in the fault") in (429, 503)
                wait_until(lambda: recovered(client))
                more(answers, 100)
            check(answers, truth)
            if fault in FORGETTING:
                truth.did.clear()
            assert post(client, "new", "item-30", "like", "in the fault") == 202  # sent again, it counts once
            truth.did["new"].append(("item-30", "like"))
            for user_id in DOERS:
                did(client, truth, user_id, first(client, user_id), "dislike")
            for user_id in [*DOERS, "new", "user-20"]:
                expected = truth.first(user_id, with_events=True)
                wait_until(lambda who=user_id, what=expected: first(client, who) == what)
            assert client.get("/hidden").json()["item_ids"] == [HIDDEN]
    finally:
        valkey.kill()


def did(client: httpx.Client, truth: Truth, user_id: str, item_id: str, kind: str) -> None:
    assert post(client, user_id, item_id, kind, f"{user_id} {item_id} {kind}") == 202
    truth.did[user_id].append((item_id, kind))


def more(answers: list[Told], n: int) -> None:
    until = len(answers) + n
    wait_until(lambda: len(answers) >= until)


def recovered(client: httpx.Client) -> bool:
    return counted(client, "reco_live_hears") == 1


def first(client: httpx.Client, user_id: str) -> str:
    return str(client.get(f"/recommend/{user_id}?k=1").json()["items"][0]["item_id"])


def check(answers: list[Told], truth: Truth) -> None:
    assert {status for status, *_ in answers} == {200}  # so none took longer than request_timeout_s
    allowed = {
        user_id: {truth.first(user_id, with_events=known) for known in (True, False)}
        for user_id in {user_id for _, user_id, *_ in answers}
    }
    assert [(user_id, first) for _, user_id, first in answers if first not in allowed[user_id]] == []


def test_vectors_that_one_bundle_left_in_redis_never_meet_another_bundle(valkey: Valkey, tmp_path: Path) -> None:
    """The same users and items, other numbers: a mixed answer would be of neither."""
    firsts: list[list[str]] = []
    for seed in (1, 2, 1):
        bundle = publish(tmp_path, make_content(seed=seed))
        with serving(registry=tmp_path, redis_url=valkey.url, profile_cache_mb=0) as client:
            for _ in range(2):  # the second time from Redis
                found = [first(client, f"user-{row}") for row in range(29)]
                assert found == [best(bundle, row) for row in range(29)]
            firsts.append(found)
    assert firsts[0] == firsts[2] != firsts[1]


def best(bundle: Bundle, row: int) -> str:
    scores = bundle.item_embeddings @ bundle.user_embeddings[row]
    scores[bundle.seen(row)] = -np.inf
    return bundle.item_ids[int(scores.argmax())]
