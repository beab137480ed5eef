import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import make_content

import service.ranking
from index.batching import BatchingSearcher
from index.bundle import Bundle
from index.errors import InputError
from index.item_index import ItemIndex
from service.ranking.chosen_search import open_chosen_search
from service.ranking.search import BatchedSearch, InlineSearch, open_search
from service.settings import Settings
from service.telemetry.metrics import Metrics


def test_the_batching_thread_answers_as_the_event_loop_does() -> None:
    content = make_content(n_users=30, n_items=50)
    index = ItemIndex.build(content.item_embeddings)
    searcher = BatchingSearcher(index)
    here, there = InlineSearch(index), BatchedSearch(searcher, index)

    async def compare() -> None:
        vectors = content.user_embeddings
        hidden = [np.arange(user % 7) for user in range(30)]
        many = await asyncio.gather(*(there(vectors[user], 60, hidden[user]) for user in range(30)))
        for user, (rows, scores) in enumerate(many):
            alone = await here(vectors[user], 60, hidden[user])
            assert rows.tolist() == alone[0].tolist()
            assert scores.tolist() == alone[1].tolist()
            assert len(rows) == 50 - user % 7  # no padding
        for within in (None, np.arange(0, 50, 2)):
            asked = (list(vectors), 9, hidden, within)
            both = zip(await here.many(*asked), await there.many(*asked), strict=True)
            assert all(one[0].tolist() == other[0].tolist() for one, other in both)
        assert await here.many([], 9, []) == []

    try:
        asyncio.run(compare())
    finally:
        searcher.close()


def test_calls_of_one_turn_get_what_each_gets_alone_and_a_wrong_one_spoils_no_other() -> None:
    content = make_content(n_users=30, n_items=50)
    index = ItemIndex.build(content.item_embeddings)
    search, vectors = InlineSearch(index), content.user_embeddings

    async def ask() -> list[Any]:
        calls = [search(vectors[user], 5 + user % 2, np.arange(user % 7)) for user in range(30)]
        wrong = search(np.full_like(vectors[0], np.nan), 5, None)
        nobody_waits = asyncio.ensure_future(search(vectors[0], 5, None))
        await asyncio.sleep(0)
        nobody_waits.cancel()
        return await asyncio.gather(*calls, wrong, nobody_waits, return_exceptions=True)

    *found, refused, ended = asyncio.run(ask())
    for user, (rows, scores) in enumerate(found):
        alone = index.search(vectors[user], 5 + user % 2, np.arange(user % 7))
        assert (rows.tolist(), scores.tolist()) == (alone[0][0].tolist(), alone[1][0].tolist())
    assert isinstance(refused, InputError)
    assert isinstance(ended, asyncio.CancelledError)


def test_calls_of_one_turn_within_the_same_rows_are_one_search_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = make_content(n_users=6, n_items=50)
    index = ItemIndex.build(content.item_embeddings)
    search, vectors, sizes = InlineSearch(index), content.user_embeddings, list[int]()
    find = ItemIndex.search
    monkeypatch.setattr(ItemIndex, "search", lambda self, *given: (sizes.append(len(given[0])), find(self, *given))[1])
    even, odd = np.arange(0, 50, 2), np.arange(1, 50, 2)

    async def ask() -> list[Any]:
        rows = [even, odd, None, even[:], even, odd]  # a view of the same rows is the same
        return await asyncio.gather(*(search.many([vectors[i]], 5, [np.arange(i)], rows[i]) for i in range(6)))

    found = asyncio.run(ask())
    assert sorted(sizes) == [1, 2, 3]
    for i, rows in enumerate([even, odd, None, even, even, odd]):
        alone = find(index, vectors[i], 5, np.arange(i), rows)
        assert found[i][0][0].tolist() == alone[0][0].tolist()


@pytest.mark.parametrize("gpu", ["auto", "off"])
def test_without_a_gpu_the_index_is_searched_on_the_cpu(bundle: Bundle, gpu: str) -> None:
    async def ask() -> tuple[str, list[int]]:
        settings = Settings(registry=Path("none"), gpu=gpu)  # type: ignore[arg-type]
        search, device, close = open_search(settings, Metrics(), bundle)
        rows, _ = await search(bundle.user_embeddings[3], 5, None)
        close()
        return device, rows.tolist()

    device, rows = asyncio.run(ask())
    assert device == "cpu"
    assert rows == np.argsort(-(bundle.item_embeddings @ bundle.user_embeddings[3]))[:5].tolist()


@pytest.mark.parametrize(("spread", "fallbacks"), [("replicas", 2), ("shards", 1)])
def test_gpus_that_cannot_hold_the_index_are_counted_and_the_cpu_answers(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: str, fallbacks: int
) -> None:
    monkeypatch.setattr("service.ranking.search.n_gpus", lambda: 2)
    monkeypatch.setattr("service.ranking.search.place_on_all", lambda *_, **__: [])  # no GPU can be had here
    metrics = Metrics()
    search, device, close = open_search(Settings(registry=tmp_path, gpu_spread=spread), metrics, bundle)
    close()
    assert isinstance(search, InlineSearch)
    assert device == "cpu"
    assert metrics.registry.get_sample_value("reco_index_fallbacks_total") == fallbacks


def test_milvus_without_its_client_ends_with_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    for module in ("service.ranking.milvus_search", "index.milvus.engine"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(service.ranking, "milvus_search", raising=False)
    settings = Settings(registry="none", milvus_uri="http://milvus:19530")
    with pytest.raises(InputError, match=r"RECO_MILVUS_URI needs pymilvus.*anchorrec\[milvus\]"):
        open_chosen_search(settings, Metrics(), bundle)
