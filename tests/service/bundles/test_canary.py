"""A bundle that does badly once it serves goes by itself, and not because one caller wants it."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import edited
from servers import counted, serving, wait_until

from service.bundles import monitor
from service.bundles.traffic import Traffic
from service.ranking.recommender import BundleRecommender
from service.ranking.similar import SimilarItems

FAST = {"watch_s": 30, "watch_min_requests": 20, "bundle_poll_s": 0.05, "warm_up_requests": 0}


def mute(two) -> Path:
    """A bundle whose items no request can tell: sums and laws hold, and every answer is a 500."""
    return edited(two.second, "items/bytes.npy", lambda text: text.fill(ord("x")))


def test_a_bundle_that_fails_requests_is_rolled_back_and_not_taken_up_again_before_it_is_published_by_hand(two):
    bad = mute(two)
    with serving(registry=two.folder, **FAST) as client:
        two.registry.publish(bad.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == bad.name)
        assert client.get("/recommend/user-3").status_code == 500
        wait_until(lambda: client.get("/recommend/user-3").json().get("bundle") == two.first.name)
        assert two.registry.current_id() == two.first.name
        known = next(one for one in client.get("/bundles").json()["bundles"] if one["bundle_id"] == bad.name)
        assert "requests failed, limit 2.0%" in known["withdrawn"]["why"]
        assert counted(client, 'reco_bundle_rollbacks_total{outcome="done"}') == 1

        forced = client.post(f"/bundles/{bad.name}/publish", timeout=60).json()
        assert forced["bundle"] == bad.name
        assert two.registry.record(bad.name).withdrawn is None


def test_of_two_replicas_one_rolls_back_and_both_go_back(two):
    bad = mute(two)
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(serving(registry=two.folder, data=two.folder / str(n), **FAST)) for n in range(2)
        ]
        two.registry.publish(bad.name)
        for client in replicas:
            wait_until(lambda client=client: client.get("/readyz").json()["bundle"] == bad.name)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(ask_until_it_answers, replicas))
        assert two.registry.current_id() == two.first.name
        done = [counted(client, 'reco_bundle_rollbacks_total{outcome="done"}') for client in replicas]
        assert sum(done) == 1


def ask_until_it_answers(client: httpx.Client) -> None:
    wait_until(lambda: client.get("/recommend/user-3").status_code == 200)


def test_a_bundle_gone_back_to_is_not_watched(two):
    bad = mute(two)
    two.registry.publish(bad.name)
    two.registry.publish(two.first.name)
    with serving(registry=two.folder, **FAST) as client:
        two.registry.rollback()
        wait_until(lambda: client.get("/readyz").json()["bundle"] == bad.name)
        assert [client.get("/recommend/user-3").status_code for _ in range(40)] == [500] * 40
        assert two.registry.current_id() == bad.name


def another_caller(client: httpx.Client) -> httpx.Client:
    """The same service, from another address."""
    return httpx.Client(base_url=client.base_url, transport=httpx.HTTPTransport(local_address="127.0.0.2"), timeout=60)


@pytest.fixture
def broken_sevens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of seven items fail, and no others."""
    recommend = BundleRecommender.recommend

    async def fail(self: Any, profile: Any, k: int, **options: Any) -> Any:
        if k == 7:
            raise ArithmeticError("seven")
        return await recommend(self, profile, k, **options)

    monkeypatch.setattr(BundleRecommender, "recommend", fail)


@pytest.mark.usefixtures("broken_sevens")
def test_one_callers_failed_requests_are_verified_by_probes_and_those_of_two_are_believed(two, monkeypatch):
    probed, probe = [], monitor.probe

    async def probes(loaded: Any) -> Any:
        found = await probe(loaded)
        probed.append(found[:2])
        return found

    monkeypatch.setattr(monitor, "probe", probes)
    with serving(registry=two.folder, **FAST | {"watch_s": 6}) as client, another_caller(client) as other:
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        for i in range(40):
            assert client.get(f"/recommend/user-{i % 29}?k=7").status_code == 500
        wait_until(lambda: len(probed) > 1)
        assert set(probed) == {(30 + 40, 0)}
        assert two.registry.current_id() == two.second.name
        for i in range(40):
            other.get(f"/recommend/user-{i % 29}?k=7")
        wait_until(lambda: two.registry.current_id() == two.first.name)


def test_a_bundle_that_fails_all_similar_items_goes_though_one_caller_alone_asks(two, monkeypatch):
    async def fail(*_: Any, **__: Any) -> Any:
        raise ArithmeticError("similar")

    with serving(registry=two.folder, **FAST) as client:
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        monkeypatch.setattr(SimilarItems, "nearest", fail)
        for i in range(40):
            assert client.get(f"/similar/item-{i}").status_code == 500
        wait_until(lambda: two.registry.current_id() == two.first.name, seconds=20)
        assert counted(client, 'reco_vectors_total{source="bundle"}') == 0, "no caller named a user"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the canary counts."""
    found: list[dict[str, Any]] = []
    names = ("path", "shape", "caller", "seconds")

    def record(_: Traffic, *values: Any, fault: bool = False) -> None:
        found.append(dict(zip(names, values, strict=True)) | {"fault": fault})

    monkeypatch.setattr(Traffic, "record", record)
    return found


REFUSED = [
    ("GET", "/recommend/user-1?k=0", 422),
    ("GET", "/recommend/user-1?unknown=1", 422),
    ("GET", "/recommend/user-1?require=nothing:x", 422),
    ("GET", "/similar/unknown", 404),
    ("GET", "/items/unknown", 404),
    ("GET", "/recommend/unknown", 404),
    ("POST", "/recommend/batch", 422),
    ("DELETE", "/recommend/user-1", 405),
]


def test_only_answers_to_valid_requests_count_and_without_the_time_that_the_caller_takes(two, recorded):
    with serving(registry=two.folder, unknown_user="404", rate_limit_per_s=0.01, rate_limit_burst=15, **FAST) as client:
        for method, path, status in REFUSED:
            assert client.request(method, path).status_code == status
        assert recorded == []
        client.post("/recommend", content=slowly(b'{"items": [{"item_id": "item-1"}]}')).raise_for_status()
        client.get("/recommend/user-1").raise_for_status()
        assert [(one["path"], one["caller"], one["fault"]) for one in recorded] == [
            ("/recommend", "127.0.0.1", False),
            ("/recommend/{user_id}", "127.0.0.1", False),
        ]
        assert recorded[0]["seconds"] < PAUSE_S
        wait_until(lambda: client.get("/popular").status_code == 429)
        count = len(recorded)
        assert client.get("/popular").status_code == 429
        assert len(recorded) == count


PAUSE_S = 0.3


def slowly(body: bytes) -> Iterator[bytes]:
    yield body[:5]
    time.sleep(PAUSE_S)
    yield body[5:]


def test_requests_of_another_cost_are_of_another_shape(two, recorded):
    cheap, *costly = (
        {"user_ids": ["user-1"]},
        {"user_ids": ["user-1"], "explain": True},
        {"user_ids": ["user-1"], "k": 40},
        {"user_ids": ["user-1"], "diversity": 0.5},
        {"user_ids": [f"user-{i}" for i in range(20)]},
    )
    with serving(registry=two.folder, **FAST) as client:
        for body in (cheap, cheap, *costly):
            client.post("/recommend/batch", json=body).raise_for_status()
        for _ in range(2):  # the second is a cached response, and is not counted
            client.get("/recommend/user-1").raise_for_status()
    first, second, *others, _ = [one["shape"] for one in recorded]
    assert first == second
    assert len({first, *others}) == 5


@pytest.mark.usefixtures("broken_sevens")
def test_a_failure_counts_as_one(two, recorded):
    with serving(registry=two.folder, **FAST) as client:
        assert client.get("/recommend/user-1?k=7").status_code == 500
    assert [one["fault"] for one in recorded] == [True]


def test_a_bundle_that_is_slow_for_two_callers_is_rolled_back(two, monkeypatch):
    recommend = BundleRecommender.recommend

    async def slow(self: Any, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.1)
        return await recommend(self, *arguments, **options)

    with (
        serving(registry=two.folder, watch_max_p99_ms=20, watch_max_p99_ratio=1, **FAST) as client,
        another_caller(client) as other,
    ):

        def ask(one: httpx.Client) -> None:
            for i in range(22):
                one.get(f"/recommend/user-{i}?k={5 + (one is other)}").raise_for_status()

        for one in (client, other):
            ask(one)
        two.registry.publish(two.second.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == two.second.name)
        monkeypatch.setattr(BundleRecommender, "recommend", slow)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(ask, (client, other)))
        wait_until(lambda: two.registry.record(two.second.name).withdrawn is not None)
        assert two.registry.current_id() == two.first.name
        why = two.registry.record(two.second.name).withdrawn.why
        assert why.startswith("100.0% of 22 requests took longer than 20 ms and 1 times")


def test_a_timeout_is_a_failure_of_the_bundle_and_a_caller_that_goes_away_is_none(two, recorded, monkeypatch):
    recommend = BundleRecommender.recommend

    async def slow(self: Any, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.3 if arguments[1] == 3 else 60)
        return await recommend(self, *arguments, **options)

    monkeypatch.setattr(BundleRecommender, "recommend", slow)
    with serving(registry=two.folder, request_timeout_s=0.6, **FAST) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get("/recommend/user-1?k=3", timeout=0.1)
        wait_until(lambda: recorded)
        assert client.get("/recommend/user-1").status_code == 504
    assert [one["fault"] for one in recorded] == [False, True]
