"""Milvus is hurt while the service answers: not one request waits for it in vain, and it comes back by itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import check, load
from bundles import make_content, write_small_bundle
from milvus_servers import MilvusServer, loaded, milvus_server
from servers import counted, publish, serving, wait_until

from index.bundle import Bundle, open_bundle
from index.registry import Registry

SEARCHES = 'reco_milvus_searches_total{{outcome="{}"}}'
QUICK = {"milvus_timeout_ms": 300, "milvus_retry_s": 0.2, "answer_cache_mb": 0}


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[MilvusServer]:
    """A server with the bundle's collection; a test that kills it restarts it."""
    with milvus_server() as one:
        loaded(one, bundle)
        yield one


@pytest.fixture
def searched(registry: Path, server: MilvusServer) -> Iterator[httpx.Client]:
    with serving(registry=registry, milvus_uri=server.uri, **QUICK) as client:
        yield client


def count(client: httpx.Client, outcome: str) -> float:
    return counted(client, SEARCHES.format(outcome))


def done_again(client: httpx.Client) -> None:
    before = count(client, "done")
    wait_until(lambda: count(client, "done") > before + 5)


def lists(client: httpx.Client) -> list[tuple[int, Any]]:
    """What requests of each kind that searches get."""
    batch = {"user_ids": [f"user-{row}" for row in range(20)], "k": 7}
    answers = [
        *(client.get(f"/recommend/user-{row}", params={"k": 12}) for row in range(20)),
        client.get("/recommend/user-3", params={"explain": True, "diversity": 0.5}),
        client.get("/recommend/user-5", params={"category": ["lamp", "rug"]}),
        client.post("/recommend", json={"items": [{"item_id": "item-3"}]}),
        client.post("/recommend/batch", json=batch),
    ]
    return [(answer.status_code, answer.json().get("items", answer.json().get("answers"))) for answer in answers]


def test_answers_from_milvus_are_those_from_the_bundles_own_index(searched: httpx.Client, client: httpx.Client) -> None:
    from_milvus = lists(searched)
    assert {status for status, _ in from_milvus} == {200}
    assert from_milvus == lists(client)
    assert count(searched, "done") > 10
    assert count(searched, "error") == 0
    assert searched.get("/readyz").json()["index"]["device"] == "milvus"


def test_milvus_killed_and_restarted_costs_no_request(
    searched: httpx.Client, bundle: Bundle, server: MilvusServer
) -> None:
    with load(searched) as answers:
        done_again(searched)
        server.kill()
        wait_until(lambda: counted(searched, 'reco_milvus_circuit{state="open"}') == 1)
        wait_until(lambda: count(searched, "skipped") > 50)
        assert count(searched, "error") >= 3
        server.restart(bundle)
        done_again(searched)
    check(answers)


def test_milvus_frozen_under_load_costs_no_request_and_is_soon_skipped(
    searched: httpx.Client, server: MilvusServer
) -> None:
    with load(searched) as answers:
        done_again(searched)
        server.pause()
        try:
            wait_until(lambda: count(searched, "late") >= 3)
            wait_until(lambda: count(searched, "skipped") > 50)
        finally:
            server.resume()
        done_again(searched)
    check(answers)


def test_other_requests_are_answered_while_searches_wait_for_milvus(registry: Path, server: MilvusServer) -> None:
    patient = {"milvus_timeout_ms": 5_000, "answer_cache_mb": 0}
    with serving(registry=registry, milvus_uri=server.uri, **patient) as client, ThreadPoolExecutor(4) as pool:
        client.get("/recommend/user-1")
        server.pause()
        try:
            waiting = [pool.submit(client.get, f"/recommend/user-{row}") for row in range(4)]
            done, _ = wait(waiting, timeout=0.5)
            assert client.get("/items/item-3").status_code == 200
            assert not done
        finally:
            server.resume()
        assert {one.result().status_code for one in waiting} == {200}


def test_without_a_fallback_requests_are_refused_until_milvus_responds(
    registry: Path, bundle: Bundle, server: MilvusServer
) -> None:
    server.kill()
    with serving(registry=registry, milvus_uri=server.uri, milvus_fallback="none", **QUICK) as client:
        refused = client.get("/recommend/user-1")
        assert (refused.status_code, refused.json()["error"]) == (503, "index_unavailable")
        assert client.get("/popular").status_code == client.get("/readyz").status_code == 200
        server.restart(bundle)
        wait_until(lambda: client.get("/recommend/user-1").status_code == 200)


def test_a_service_that_starts_without_milvus_answers_and_finds_it_later(
    registry: Path, bundle: Bundle, server: MilvusServer
) -> None:
    server.kill()
    with serving(registry=registry, milvus_uri=server.uri, **QUICK) as client, load(client) as answers:
        wait_until(lambda: count(client, "skipped") > 10)
        server.restart(bundle)
        done_again(client)
    check(answers)


def test_a_swap_waits_for_the_collection_of_the_new_bundle(
    tmp_path: Path, server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.bundles.backoff.FIRST_S", 0.2)
    folder = tmp_path / "registry"
    first = loaded(server, publish(folder, make_content()))
    settings = {"milvus_uri": server.uri, "bundle_poll_s": 0.05, **QUICK}
    with serving(registry=folder, **settings) as client:
        second = open_bundle(write_small_bundle(folder, after_seconds=90_000_000, seed=1))
        Registry(folder).publish(second.bundle_id)
        wait_until(lambda: counted(client, 'reco_bundle_swaps_total{outcome="failed"}') > 0)
        assert client.get("/recommend/user-1").json()["bundle"] == first.bundle_id
        assert f"Milvus has no whole collection of bundle {second.bundle_id}" in client.get("/bundles").text
        loaded(server, second)
        wait_until(lambda: client.get("/recommend/user-1").json()["bundle"] == second.bundle_id)
        assert lists(client)[0][0] == 200
