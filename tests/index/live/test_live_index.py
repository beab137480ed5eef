"""A live index searches as brute force over the items that survive, whatever was put, removed, compacted, reopened."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from index.errors import InputError
from index.ids import IdTable
from index.item_index import ItemIndex, exact_search
from index.live.live_index import DeltaFull, DeltaLimits, LiveIndex

N_ITEMS, SIZE = 40, 4
NEVER = DeltaLimits(10**9, 10**9, 10**9)


def vectors_of(n: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, size), dtype=np.float32)


def ids_of(n: int) -> list[str]:
    return [f"i{row}" for row in range(n)]


def flat(vectors: np.ndarray) -> ItemIndex:
    return ItemIndex.build(vectors)


def ivf(vectors: np.ndarray) -> ItemIndex:
    return ItemIndex.build(vectors, f"IVF{min(4, len(vectors))},Flat", nprobe=4)


def opened(folder: Path, vectors: np.ndarray, *, limits=NEVER, build=flat, main_id="bundle") -> LiveIndex:
    return LiveIndex(folder, build(vectors), IdTable.build(ids_of(len(vectors))), main_id, build=build, limits=limits)


def found(live: LiveIndex, query: np.ndarray, k: int = 5, **options) -> list[str]:
    rows = live.snapshot.search(query, k, **options)[0][0]
    return [live.item_id(row) for row in rows.tolist() if row >= 0]


@pytest.fixture
def live(tmp_path) -> Iterator[LiveIndex]:
    """Items i0..i9, of which the query (1, 0) prefers i9."""
    vectors = np.stack([np.arange(10), np.zeros(10)], axis=1).astype(np.float32)
    index = opened(tmp_path / "delta", vectors)
    yield index
    index.close()


QUERY = np.array([1, 0], np.float32)


def at(x: float) -> np.ndarray:
    return np.array([x, 0], np.float32)


class AnyChanges(RuleBasedStateMachine):
    """Vectors of small whole numbers, so that ties are common and scores are exact."""

    build = staticmethod(flat)
    names = Bundle("names")
    vector = st.lists(st.integers(-2, 2), min_size=SIZE, max_size=SIZE).map(lambda v: np.array(v, np.float32))
    item = st.sampled_from([*ids_of(N_ITEMS), *(f"new{i}" for i in range(12))])

    @initialize(seed=st.integers(0, 99))
    def start(self, seed):
        self.folder = tempfile.TemporaryDirectory()
        self.vectors = np.random.default_rng(seed).integers(-2, 3, (N_ITEMS, SIZE)).astype(np.float32)
        self.live = self.open()
        self.items = dict(zip(ids_of(N_ITEMS), self.vectors, strict=True))
        self.rows = {item_id: row for row, item_id in enumerate(self.items)}
        self.hidden: set[int] = set()

    def open(self) -> LiveIndex:
        return opened(Path(self.folder.name), self.vectors, build=type(self).build)

    @rule(put=st.dictionaries(item, vector, max_size=6), removed=st.sets(item, max_size=6))
    def change(self, put, removed):
        rows = self.live.change(put, removed - put.keys())
        for item_id, row in zip(put, rows.tolist(), strict=True):
            assert self.rows.setdefault(item_id, row) == row
        self.items = {k: v for k, v in self.items.items() if k not in removed} | put

    @rule()
    def compact(self):
        there_is_something = bool(self.items and self.live.n_changes)
        assert self.live.compact() == there_is_something
        assert not (there_is_something and self.live.n_changes)

    @rule()
    def reopen(self):
        self.live.close()
        self.live = self.open()
        self.hidden = set()
        assert self.live.unreadable == 0

    @rule(data=st.data())
    def hide(self, data):
        rows = st.sets(st.integers(0, len(self.live.snapshot) - 1), max_size=5)
        self.hidden = data.draw(rows)
        self.live.hide(np.array(sorted(self.hidden), np.int64))

    @rule(data=st.data(), query=vector, k=st.integers(1, 60), others=st.lists(vector, max_size=2))
    def search(self, data, query, k, others):
        snapshot, queries = self.live.snapshot, np.stack([query, *others])
        some_rows = st.sets(st.integers(0, len(snapshot) - 1)).map(lambda rows: np.array(sorted(rows), np.int64))
        exclude = [data.draw(some_rows) for _ in queries]
        within = data.draw(st.none() | some_rows)
        expected = self.expected(queries, k, exclude, within)
        for ours, theirs in zip(snapshot.search(queries, k, exclude, within), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def expected(self, queries, k, exclude, within):
        vectors = np.zeros((len(self.live.snapshot), SIZE), np.float32)
        for item_id, vector in self.items.items():
            vectors[self.rows[item_id]] = vector
        there = {self.rows[item_id] for item_id in self.items} - self.hidden
        there &= set(range(len(vectors)) if within is None else within.tolist())
        absent = np.array(sorted(set(range(len(vectors))) - there), np.int64)
        return exact_search(vectors, queries, k, [np.concatenate([absent, rows]) for rows in exclude])

    @invariant()
    def it_counts_its_items(self):
        if hasattr(self, "live"):
            assert self.live.n_items == len(self.items)
            assert {self.live.row(item_id) for item_id in self.items} == {self.rows[i] for i in self.items}

    def teardown(self):
        if hasattr(self, "live"):
            self.live.close()
            self.folder.cleanup()


class AnyChangesOverLists(AnyChanges):
    build = staticmethod(ivf)


TestAnyChanges = AnyChanges.TestCase
TestAnyChanges.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestAnyChangesOverLists = AnyChangesOverLists.TestCase
TestAnyChangesOverLists.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)


def test_a_new_item_is_found_beside_the_others_and_a_replaced_one_keeps_its_row(live):
    assert live.change({"new": at(20), "i3": at(30)}).tolist() == [10, 3]
    assert found(live, QUERY, 3) == ["i3", "new", "i9"]


def test_equal_scores_come_by_lower_row_from_whichever_side(live):
    live.change({"new": at(9), "i8": at(9)})
    assert found(live, QUERY, 3) == ["i8", "i9", "new"]


def test_a_removed_item_is_never_returned_and_has_its_old_row_when_it_is_put_again(live):
    live.change({"new": at(20)})
    live.change({}, ["new", "i9", "unknown"])
    assert found(live, QUERY, 2) == ["i8", "i7"]
    assert live.change({"new": at(1), "i9": at(50)}).tolist() == [10, 9]
    assert found(live, QUERY, 1) == ["i9"]


def test_a_snapshot_stays_as_it_is_while_the_index_changes(live):
    before = live.snapshot
    expected = before.search(QUERY, 10)
    for i in range(200):  # more than the delta has room for at first
        live.change({f"new{i}": at(100 + i)}, [f"i{i % 10}"])
    live.compact()
    for ours, theirs in zip(before.search(QUERY, 10), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_item_that_is_replaced_again_and_again_takes_room_for_a_few(live):
    for i in range(1_000):
        live.change({"new": at(i)})
    assert live.n_changes == 1
    assert len(live.snapshot.delta.vectors) <= 128


def test_the_ids_that_differ_from_the_bundle_are_known_after_compaction_and_reopening(live, tmp_path):
    live.change({"new": at(20), "i3": at(30), "gone": at(1)}, ["i5"])
    live.change({}, ["gone"])
    live.compact()
    live.close()
    again = opened(tmp_path / "delta", np.stack([np.arange(10), np.zeros(10)], axis=1).astype(np.float32))
    assert again.changed() == (["i3", "new"], ["i5", "gone"])
    again.close()


def test_changes_during_a_compaction_are_in_the_compacted_index(tmp_path):
    vectors, live = vectors_of(20), None

    def build(of: np.ndarray) -> ItemIndex:
        if live is not None:  # it is compacting
            live.change({"i1": 70 * vectors[0], "late": 90 * vectors[0]}, ["i2", "early"])
        return flat(of)

    live = opened(tmp_path / "delta", vectors, build=build)
    live.change({"early": 99 * vectors[0]})
    assert live.compact()
    assert found(live, vectors[0], 2) == ["late", "i1"]
    live.close()
    live = opened(tmp_path / "delta", vectors)
    assert found(live, vectors[0], 2) == ["late", "i1"]
    live.close()


def test_it_is_compacted_in_the_background_once_it_has_grown(tmp_path):
    live = opened(tmp_path / "delta", vectors_of(20), limits=DeltaLimits(5, 100, 100))
    live.change({f"new{i}": vectors_of(1, seed=i)[0] for i in range(6)})
    live.close()  # waits for it
    assert (live.n_changes, live.n_items, len(live.snapshot.main)) == (0, 26, 26)


def test_a_failed_compaction_is_told_and_changes_nothing(tmp_path):
    def build(of: np.ndarray) -> ItemIndex:
        if len(of) > 20:
            raise InputError("no room for it")
        return flat(of)

    live = opened(tmp_path / "delta", vectors_of(20), limits=DeltaLimits(5, 8, 100), build=build)
    live.change({f"new{i}": np.full(SIZE, i, np.float32) for i in range(3)})
    live.change({f"more{i}": np.full(SIZE, 9, np.float32) for i in range(2)})
    live.close()
    assert live.problem == "no room for it"
    live = opened(tmp_path / "delta", vectors_of(20), limits=DeltaLimits(99, 8, 100))
    assert found(live, np.ones(SIZE, np.float32), 2) == ["more0", "more1"]
    live.close()


def test_a_delta_that_is_full_refuses_to_grow_but_still_removes(tmp_path):
    live = opened(tmp_path / "delta", vectors_of(20), limits=DeltaLimits(100, 4, 100))
    live.change({"a": vectors_of(1)[0], "b": vectors_of(1)[0]})
    with pytest.raises(DeltaFull, match="would hold 6 changes; the most is 4"):
        live.change({"c": vectors_of(1)[0], "d": vectors_of(1)[0]})
    live.change({}, ["i1"])
    assert live.row("c") is None
    assert live.n_items == 21
    live.close()


def test_rows_of_removed_items_count_against_the_row_space(tmp_path):
    live = opened(tmp_path / "delta", vectors_of(20), limits=DeltaLimits(100, 100, 21))
    live.change({"a": vectors_of(1)[0]})
    live.change({}, ["a"])
    with pytest.raises(DeltaFull, match="would need 22 rows; the most is 21, those of removed items included"):
        live.change({"b": vectors_of(1)[0]})
    live.close()


BAD_CHANGES = [
    ({"a": np.zeros(3)}, [], r"vector of 'a' has shape \(3,\); expected \(2,\)"),
    ({"a": np.array([np.nan, 0])}, [], "vector of 'a' holds a value that is not finite"),
    ({"": np.zeros(2)}, [], "item id '' has 0 bytes; expected 1 to 4,096"),
    ({"\ud800": np.zeros(2)}, [], "is no text that UTF-8 can hold"),
    ({"a": np.zeros(2)}, ["a"], "'a' is to be put and to be removed"),
]


@pytest.mark.parametrize(("put", "removed", "message"), BAD_CHANGES)
def test_a_wrong_change_is_refused_whole(live, put, removed, message):
    with pytest.raises(InputError, match=message):
        live.change({"fine": at(99)} | put, removed)
    assert live.row("fine") is None
    assert (live.n_items, live.n_changes) == (10, 0)


def test_hidden_rows_stay_hidden_through_changes_and_compaction(live):
    rows = live.change({"new": at(20)})
    live.hide(np.array([rows[0], 9]))
    live.change({"other": at(1)})
    live.compact()
    assert found(live, QUERY, 1) == ["i8"]
    live.hide(np.array([], np.int64))
    assert found(live, QUERY, 2) == ["new", "i9"]


def test_all_items_may_be_removed_and_others_put(live):
    live.change({}, ids_of(10))
    assert found(live, QUERY) == []
    assert not live.compact()
    live.change({"new": at(1)})
    assert live.compact()
    assert found(live, QUERY) == ["new"]


def test_a_folder_has_one_writer(live, tmp_path):
    with pytest.raises(InputError, match="is open already, in this process or another"):
        opened(tmp_path / "delta", vectors_of(10, 2))


def test_the_delta_of_another_bundle_is_refused(live, tmp_path):
    live.close()
    with pytest.raises(InputError, match=r"main_id='bundle'.*expected that of .*main_id='next'"):
        opened(tmp_path / "delta", vectors_of(10, 2), main_id="next")


def test_a_wrong_search_is_refused_as_by_any_index(live):
    live.change({"new": at(1)})
    with pytest.raises(InputError, match=r"excluded rows run from 11 to 11; expected 0..10"):
        live.snapshot.search(QUERY, 3, np.array([11]))
