from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from index.recommending.profile import Profile
from service.response_cache import OVERHEAD_BYTES, CachedResponse, ResponseCache

KEY = ("/recommend/{user_id}", "ann", b"k=3", "bundle-1")


def profile() -> Profile:
    return Profile("user", np.ones(2), np.zeros(2), np.array([1]), np.ones(1))


def test_an_answer_is_kept_for_the_very_profile_it_was_made_from() -> None:
    cache, ann = ResponseCache(10_000), profile()
    cache.put(KEY, CachedResponse(ann, b"{}", "user"), cache.epoch)
    assert cache.get(KEY, ann) == CachedResponse(ann, b"{}", "user")
    assert cache.get(KEY, profile()) is None  # equal in every number, and yet another one
    assert cache.get((KEY[0], "bob", *KEY[2:]), ann) is None


def test_what_was_begun_before_a_change_for_all_is_not_kept_after_it() -> None:
    cache, ann = ResponseCache(10_000), profile()
    begun = cache.epoch
    cache.put(KEY, CachedResponse(ann, b"{}", "user"), begun)
    cache.clear()
    assert cache.get(KEY, ann) is None
    cache.put(KEY, CachedResponse(ann, b"{}", "user"), begun)
    assert cache.get(KEY, ann) is None


def test_the_answers_asked_for_least_lately_go_first_and_memory_stays_bounded() -> None:
    cache, ann = ResponseCache(3 * (100 + OVERHEAD_BYTES)), profile()
    keys = [(KEY[0], f"user {i}", b"", "bundle-1") for i in range(4)]
    for key in keys[:3]:
        cache.put(key, CachedResponse(ann, b"x" * 100, "user"), cache.epoch)
    cache.get(keys[0], ann)
    cache.put(keys[3], CachedResponse(ann, b"x" * 100, "user"), cache.epoch)
    assert [cache.get(key, ann) is not None for key in keys] == [True, False, True, True]
    cache.put(
        KEY, CachedResponse(ann, b"x" * 10_000, "user"), cache.epoch
    )  # larger than all there is: not kept, nothing lost
    assert cache.get(KEY, ann) is None
    assert cache.get(keys[3], ann) is not None


def test_what_callers_write_into_ids_and_queries_counts_as_memory() -> None:
    cache = ResponseCache(10_000)
    for i in range(10):
        cache.put((KEY[0], f"{i}" * 2_000, b"k" * 1_000, "bundle-1"), CachedResponse(None, b"{}", "user"), cache.epoch)
    assert 2 * 3_000 < cache.n_bytes <= 10_000  # two fit


def test_a_kept_answer_differs_from_the_first_in_its_request_id_alone(client: httpx.Client) -> None:
    def asked(request_id: str) -> Any:
        return client.get("/similar/item-1?k=3&explain=true", headers={"X-Request-Id": request_id})

    first, second = asked("first"), asked("second")
    assert "kept" not in first.headers["Server-Timing"]
    assert "kept" in second.headers["Server-Timing"]
    assert (first.json()["request_id"], second.json()["request_id"]) == ("first", "second")
    assert {**first.json(), "request_id": ""} == {**second.json(), "request_id": ""}


def test_strangers_share_one_kept_answer_that_calls_each_by_name(client: httpx.Client) -> None:
    first, second = (client.get(f"/recommend/{quote(name)}?k=4") for name in ("nobody-1", 'no"body\\é-2'))
    assert "kept" not in first.headers["Server-Timing"]
    assert "kept" in second.headers["Server-Timing"]
    assert second.json()["user_id"] == 'no"body\\é-2'
    without = {"request_id": "", "user_id": ""}
    assert {**first.json(), **without} == {**second.json(), **without}


def test_a_stranger_who_did_something_is_one_no_more(client: httpx.Client) -> None:
    client.get("/recommend/stranger-a?k=4")
    client.post("/events", json=[{"user_id": "stranger-b", "item_id": "item-1", "kind": "click"}]).raise_for_status()
    one, other = (client.get(f"/recommend/stranger-{name}?k=4").json() for name in "ab")
    assert (one["source"], other["source"]) == ("popular", "fold_in")
    assert (one["user_id"], other["user_id"]) == ("stranger-a", "stranger-b")
