"""What every ItemIndex promises, whatever searches for it: FAISS here, or a Milvus server over a socket."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bundles import write_small_bundle
from milvus_servers import MilvusServer, connected, loaded

from index.bundle import open_bundle
from index.errors import InputError
from index.item_index import ItemIndex
from index.milvus.engine import MilvusEngine, milvus_index
from index.ranking import exact_search
from index.recall import measured_recall
from index.search_plan import MAX_OVERFETCH

N, SIZE, M = 400, 8, 6
COPIES = np.arange(3, N, 5)  # rows of one vector, the best one for BEST
BEST = np.full(SIZE, 1, np.float32)


def make_items() -> np.ndarray:
    """Random vectors, and eighty copies of one that is better than all of them for BEST."""
    items = np.random.default_rng(0).standard_normal((N, SIZE), dtype=np.float32)
    items[COPIES] = 3
    return items


ITEMS = make_items()
QUERIES = np.random.default_rng(1).standard_normal((M, SIZE), dtype=np.float32)


def choose(n_rows: int) -> list[np.ndarray]:
    return [np.random.default_rng(query).choice(N, n_rows, replace=False) for query in range(M)]


class IndexContract:
    """Inherited by one class for each kind of index; its fixture `index` is one over ITEMS."""

    @pytest.mark.parametrize("n_excluded", [0, 30, MAX_OVERFETCH + 1, 390, N])
    @pytest.mark.usefixtures("all_searched")
    def test_it_equals_exact_search_without_the_excluded_rows(self, index: ItemIndex, n_excluded: int) -> None:
        exclude = choose(n_excluded)
        rows, scores = index.search(QUERIES, 20, exclude)
        exact = exact_search(ITEMS, QUERIES, 20, exclude)
        np.testing.assert_array_equal(rows, exact[0])
        np.testing.assert_array_equal(scores, exact[1])

    def test_one_by_one_equals_all_at_once(self, index: ItemIndex) -> None:
        exclude = [rows[: 50 * query] for query, rows in enumerate(choose(N))]
        together = index.search(QUERIES, 9, exclude)
        alone = [index.search(query, 9, rows) for query, rows in zip(QUERIES, exclude, strict=True)]
        for i in (0, 1):
            np.testing.assert_array_equal(together[i], np.concatenate([one[i] for one in alone]))

    @pytest.mark.parametrize("k", [1, 10, 79, 90])
    def test_equal_items_across_the_cut_come_by_lower_row(self, index: ItemIndex, k: int) -> None:
        rows, _ = index.search(BEST, k, COPIES[:2])
        assert rows[0, :78].tolist() == COPIES[2 : k + 2].tolist()
        assert len(set(rows[0].tolist())) == k

    @pytest.mark.parametrize("n_hidden", [3, 300])
    def test_hidden_rows_never_return_and_come_back_when_shown(self, index: ItemIndex, n_hidden: int) -> None:
        hidden, seen = index.search(QUERIES[0], n_hidden)[0][0], np.array([5, 6, 7])
        changed = index.with_hidden(hidden)
        rows, _ = changed.search(QUERIES[0], 9, seen)
        assert rows.tolist() == exact_search(ITEMS, QUERIES[0], 9, np.concatenate([hidden, seen]))[0].tolist()
        shown = changed.with_hidden(np.array([], np.int64))
        assert shown.search(QUERIES[0], 9)[0].tolist() == index.search(QUERIES[0], 9)[0].tolist()

    @pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
    @pytest.mark.usefixtures("all_searched")
    def test_a_search_within_rows_is_brute_force_over_them(self, index: ItemIndex, share: float) -> None:
        within = np.flatnonzero(np.random.default_rng(2).random(N) < share)
        rows, scores = index.search(QUERIES, 20, np.arange(9), within)
        left_out = np.union1d(np.setdiff1d(np.arange(N), within), np.arange(9))
        expected = exact_search(ITEMS, QUERIES, 20, left_out)
        np.testing.assert_array_equal(rows, expected[0])
        np.testing.assert_array_equal(scores, expected[1])

    def test_fewer_items_than_asked_for_are_filled_up_with_minus_one(self, index: ItemIndex) -> None:
        rows, scores = index.search(QUERIES, 20, np.arange(N - 3))
        assert [sorted(row[:3].tolist()) for row in rows] == [[N - 3, N - 2, N - 1]] * M
        assert (rows[:, 3:] == -1).all()
        assert np.isneginf(scores[:, 3:]).all()

    def test_several_threads_may_search_at_once(self, index: ItemIndex) -> None:
        alone = [index.search(query, 10, np.arange(200))[0].tolist() for query in QUERIES]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda query: index.search(query, 10, np.arange(200))[0].tolist(), QUERIES))
        assert together == alone

    def test_its_recall_is_measured_as_that_of_any_index(self, index: ItemIndex) -> None:
        seen = choose(30).__getitem__
        assert measured_recall(index, ITEMS, QUERIES, seen) == {"recall@20": 1.0, "recall@100": 1.0}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"queries": np.zeros(7, np.float32)},
            {"queries": np.full(SIZE, np.nan, np.float32)},
            {"exclude": np.array([N])},
            {"k": 0},
        ],
    )
    def test_a_wrong_search_is_refused(self, index: ItemIndex, wrong: dict[str, Any]) -> None:
        with pytest.raises(InputError, match="expected"):
            index.search(**({"queries": QUERIES, "k": 3} | wrong))


@pytest.fixture(scope="module")
def in_milvus(milvus: MilvusServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ItemIndex]:
    content = {"item_embeddings": ITEMS, "item_parts": {"id": ITEMS}, "n_items": N, "embedding_size": SIZE}
    bundle = open_bundle(write_small_bundle(tmp_path_factory.mktemp("registry"), **content), verify=False)
    with connected(milvus) as connection:
        yield milvus_index(connection, loaded(milvus, bundle))


@pytest.fixture
def all_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are not scored one by one here, as they would be among so few items."""
    monkeypatch.setattr("index.search_plan.SCORED_ROOT", 0)
    monkeypatch.setattr("index.search_plan.SCORED_SHARE", N)


class TestFlat(IndexContract):
    @pytest.fixture
    def index(self) -> ItemIndex:
        return ItemIndex.build(ITEMS)


class TestMilvus(IndexContract):
    @pytest.fixture
    def index(self, in_milvus: ItemIndex) -> ItemIndex:
        return in_milvus

    @pytest.fixture
    def without_local(self, index: ItemIndex) -> ItemIndex:
        """The same, and nothing but Milvus may find candidates."""
        return replace(index, overflow=None)

    def test_milvus_proposes_the_rows(self, without_local: ItemIndex) -> None:
        assert without_local.engine.device == "milvus"
        rows, scores = without_local.search(QUERIES, 20, choose(30))
        exact = exact_search(ITEMS, QUERIES, 20, choose(30))
        np.testing.assert_array_equal(rows, exact[0])
        np.testing.assert_array_equal(scores, exact[1])

    @pytest.mark.usefixtures("all_searched")
    def test_rows_too_many_to_be_named_are_left_out_after_the_search(
        self, without_local: ItemIndex, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = record_filters(without_local, monkeypatch)
        monkeypatch.setattr("index.milvus.engine.MAX_NAMED", 100)
        monkeypatch.setattr("index.milvus.engine.FETCH_FIRST", 200)
        few, many = np.arange(130), exact_search(ITEMS, QUERIES, 190)[0]
        for exclude, is_named in ((few, False), (list(many), True)):
            sent.clear()
            found = without_local.search(QUERIES, 20, exclude)
            np.testing.assert_array_equal(found[0], exact_search(ITEMS, QUERIES, 20, exclude)[0])
            assert any(sent) == is_named


def record_filters(index: ItemIndex, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The filters of all searches from here on."""
    assert isinstance(index.engine, MilvusEngine)
    sent: list[str] = []
    call: Callable[..., Any] = index.engine.milvus.call

    def record(method: str, *arguments: Any, **options: Any) -> Any:
        sent.append(str(options.get("filter", "")))
        return call(method, *arguments, **options)

    monkeypatch.setattr(index.engine.milvus, "call", record)
    return sent
