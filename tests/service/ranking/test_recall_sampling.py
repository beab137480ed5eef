"""The recall of the index that serves is sampled: what is counted, what is dropped, and what is left alone."""

import asyncio
import os
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from bundles import narrowed, write_small_bundle
from servers import counted, serving, wait_until

from index.batching import BatchingSearcher
from index.bundle import Bundle, open_bundle
from index.item_index import ItemIndex
from index.recall import OneSearch
from index.registry import Registry
from service import background
from service.ranking import recall_sampling
from service.ranking.recall_sampling import WAITING, RecallSampler
from service.ranking.search import BatchedSearch, InlineSearch, ItemSearch
from service.telemetry.metrics import Metrics

SIZES: dict[str, Any] = {"n_users": 40, "n_items": 600}
SAMPLES = 'reco_recall_samples_total{outcome="%s"}'


@pytest.fixture(autouse=True)
def without_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall_sampling, "BUSY_SHARE", 1.0)


@pytest.fixture(scope="module")
def approximate(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its index probes one of eight lists."""
    return open_bundle(narrowed(write_small_bundle(tmp_path_factory.mktemp("registry"), factory="IVF8,Flat", **SIZES)))


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"reco_recall_{name}_total", labels) or 0.0


def is_measured(metrics: Metrics, n: int) -> bool:
    return count(metrics, "samples", outcome="measured") == n


def sampler_of(metrics: Metrics, every: int = 1) -> RecallSampler:
    return RecallSampler(every, metrics, random.Random(1))


async def search_all(sampler: RecallSampler, bundle: Bundle, users: range) -> None:
    await search_by(InlineSearch(bundle.index(), sampler.sampling_of(bundle.bundle_id, bundle.index())), bundle, users)


async def search_by(search: ItemSearch, bundle: Bundle, users: range) -> None:
    for user in users:
        await search(bundle.user_embeddings[user], 20, bundle.seen(user))


async def measure(sampler: RecallSampler, until: Callable[[], bool]) -> None:
    task = asyncio.create_task(sampler.run())
    while not until():
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_the_sampled_ratio_is_the_recall_of_the_same_searches(approximate: Bundle) -> None:
    metrics = Metrics()
    sampler = sampler_of(metrics)
    sampler.serve(approximate.bundle_id)
    measured = 0

    async def run() -> None:
        for last in range(WAITING, 41, WAITING):
            await search_all(sampler, approximate, range(last - WAITING, last))
            await measure(sampler, partial(is_measured, metrics, last))

    asyncio.run(run())
    for user in range(40):
        vector, seen = approximate.user_embeddings[user], approximate.seen(user)
        _, found = approximate.index().search(vector, 20, seen)
        exact, _ = ItemIndex.build(approximate.item_embeddings).search(vector, 20, seen)
        measured += int((found[0] >= (approximate.item_embeddings[exact[0]] @ vector).min() - 1e-4).sum())
    assert count(metrics, "sampled_items") == 40 * 20
    assert count(metrics, "sampled_hits") == measured
    assert 0.1 < measured / 800 < 0.95


def test_one_search_in_so_many_is_sampled(approximate: Bundle) -> None:
    metrics = Metrics()
    sampler = sampler_of(metrics, every=10)
    sampler.serve(approximate.bundle_id)
    sampling = sampler.sampling_of(approximate.bundle_id, approximate.index())
    assert sampling is not None
    nothing, vector = np.empty(0, np.int64), approximate.user_embeddings[0]
    search = OneSearch(approximate.index(), vector, 20, nothing, None, np.ones(20, np.float32))
    for _ in range(10_000):
        if sampling.due():
            sampling.offer(search)
    assert 900 < count(metrics, "samples", outcome="dropped") + WAITING < 1_100


def test_samples_are_dropped_while_others_wait(approximate: Bundle) -> None:
    metrics = Metrics()
    sampler = sampler_of(metrics)
    sampler.serve(approximate.bundle_id)
    asyncio.run(search_all(sampler, approximate, range(WAITING + 3)))
    assert count(metrics, "samples", outcome="dropped") == 3


def test_a_swap_drops_what_waits_and_ends_what_runs(approximate: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest after a block takes a minute here, so that the search only ends because of the swap."""
    metrics, started = Metrics(), threading.Event()
    monkeypatch.setattr(recall_sampling, "BUSY_SHARE", 1e-12)
    monkeypatch.setattr(recall_sampling, "_Pace", started_pace(started))
    sampler = sampler_of(metrics)
    sampler.serve(approximate.bundle_id)

    async def run() -> None:
        await search_all(sampler, approximate, range(3))
        swap = asyncio.get_running_loop().create_task(asyncio.to_thread(started.wait))
        swap.add_done_callback(lambda _: sampler.serve("another"))
        await measure(sampler, lambda: count(metrics, "samples", outcome="dropped") == 3)
        await search_all(sampler, approximate, range(3))

    asyncio.run(run())
    assert count(metrics, "samples", outcome="measured") == 0
    assert count(metrics, "samples", outcome="dropped") == 3  # and none of the bundle that serves no more


def started_pace(started: threading.Event) -> Callable[[threading.Event], Any]:
    pace = recall_sampling._Pace

    def make(stopped: threading.Event) -> Any:
        started.set()
        return pace(stopped)

    return make


def test_searches_of_the_batching_thread_and_of_many_at_once_are_sampled_too(approximate: Bundle) -> None:
    metrics = Metrics()
    sampler = sampler_of(metrics)
    sampler.serve(approximate.bundle_id)
    searcher = BatchingSearcher(approximate.index())
    search = BatchedSearch(
        searcher, approximate.index(), sampler.sampling_of(approximate.bundle_id, approximate.index())
    )

    async def run() -> None:
        await search_by(search, approximate, range(1))
        vectors, nothing = approximate.user_embeddings[:3], np.empty(0, np.int64)
        await search.many(list(vectors), 20, [nothing] * 3, within=np.arange(7, 12))
        await measure(sampler, partial(is_measured, metrics, 4))

    try:
        asyncio.run(run())
    finally:
        searcher.close()
    assert count(metrics, "sampled_items") == 20 + 3 * 5
    assert count(metrics, "sampled_hits") >= 3 * 5  # within so few rows every search is exact


def test_an_exact_index_and_a_sampler_that_is_off_cost_no_call(approximate: Bundle, bundle: Bundle) -> None:
    assert sampler_of(Metrics()).sampling_of(bundle.bundle_id, bundle.index()) is None
    assert sampler_of(Metrics(), every=0).sampling_of(approximate.bundle_id, approximate.index()) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a priority of its own")
def test_the_thread_that_measures_has_the_lowest_priority(approximate: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, found = Metrics(), []

    def look(*_: Any, **__: Any) -> tuple[int, int]:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return 1, 1

    monkeypatch.setattr(recall_sampling, "hits_of", look)
    sampler = sampler_of(metrics)
    sampler.serve(approximate.bundle_id)

    async def run() -> None:
        await search_all(sampler, approximate, range(1))
        await measure(sampler, lambda: bool(found))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    asyncio.run(run())
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


# Over a socket


def published(registry: Path, factory: str) -> None:
    path = write_small_bundle(registry, factory=factory, **SIZES)
    Registry(registry).publish((path if factory == "Flat" else narrowed(path)).name)


def ask_everybody(client: httpx.Client) -> None:
    for user in range(30):
        client.get(f"/recommend/user-{user}").raise_for_status()
        client.get(f"/recommend/user-{user}?category=lamp&diversity=0.5").raise_for_status()


def test_a_service_with_a_narrow_index_shows_a_ratio_below_1(tmp_path: Path) -> None:
    published(tmp_path, "IVF8,Flat")
    with serving(registry=tmp_path, recall_sample=1, answer_cache_mb=0) as client:
        assert counted(client, SAMPLES % "measured") == 0  # the warm-up is not sampled
        ask_everybody(client)
        wait_until(lambda: counted(client, SAMPLES % "measured") + counted(client, SAMPLES % "dropped") == 60)
        hits, items = (counted(client, f"reco_recall_sampled_{what}_total") for what in ("hits", "items"))
        assert 0 < hits < items
        assert items % 10 == 0


@pytest.mark.parametrize(("factory", "every"), [("Flat", 1), ("IVF8,Flat", 0)])
def test_a_service_with_an_exact_index_or_without_sampling_samples_nothing(
    tmp_path: Path, factory: str, every: int
) -> None:
    published(tmp_path, factory)
    with serving(registry=tmp_path, recall_sample=every, answer_cache_mb=0) as client:
        ask_everybody(client)
        assert all(counted(client, SAMPLES % outcome) == 0 for outcome in ("measured", "dropped"))
        assert counted(client, "reco_recall_sampled_items_total") == 0


def test_after_a_swap_to_an_exact_index_nothing_is_sampled_and_the_bundle_before_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_sampling, "BUSY_SHARE", 1e-12)  # the first measurement would rest for a minute
    exact = write_small_bundle(tmp_path, after_seconds=1, **SIZES)
    published(tmp_path, "IVF8,Flat")
    with serving(registry=tmp_path, recall_sample=1, answer_cache_mb=0, bundle_poll_s=0.05) as client:
        ask_everybody(client)
        Registry(tmp_path).publish(exact.name)
        wait_until(lambda: counted(client, 'reco_bundle_swaps_total{outcome="done"}') == 1)
        wait_until(lambda: counted(client, "reco_bundles_open") == 1)
        wait_until(lambda: counted(client, SAMPLES % "dropped") == 60)
        ask_everybody(client)
        assert counted(client, SAMPLES % "dropped") == 60
        assert counted(client, SAMPLES % "measured") == 0


def test_a_measurement_that_fails_is_counted_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path, "IVF8,Flat")
    monkeypatch.setattr(background, "FIRST_S", 0.01)
    hits_of, failures = recall_sampling.hits_of, iter([MemoryError(), None])

    def fails_once(*given: Any, **more: Any) -> Any:
        if error := next(failures, None):
            raise error
        return hits_of(*given, **more)

    monkeypatch.setattr(recall_sampling, "hits_of", fails_once)
    with serving(registry=tmp_path, recall_sample=1, answer_cache_mb=0) as client:
        ask_everybody(client)
        wait_until(lambda: counted(client, SAMPLES % "measured") > 0)
        assert counted(client, 'reco_background_task_failures_total{task="recall_sampler"}') == 1
