import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path

import pytest
from bundles import write_tiny_bundle
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.gate_report import GateCheck, GateReport
from index.records import BundleRecord, GateResult, PointerMove
from index.registry import MOST_HISTORY, POINTER, Registry, open_registry
from index.storage import TEMPORARY_PREFIX

AT = datetime(2026, 1, 3, tzinfo=UTC)
FELL = PointerMove(at=AT, by="replica-1", why="errors")


@pytest.fixture
def in_folder(tmp_path) -> Registry:
    return filled(Registry(tmp_path))


@pytest.fixture(params=["folder", "bucket"])
def another(request, tmp_path) -> Callable[[], Registry]:
    """Opens the registry of a test as yet another process of yet another machine would."""
    if request.param == "folder":
        return lambda: Registry(tmp_path / "bundles")
    url = f"{request.getfixturevalue('store').bucket()}/bundles"
    return lambda: open_registry(url, Path(tempfile.mkdtemp(dir=tmp_path)))


@pytest.fixture
def registry(another) -> Registry:
    return filled(another())


def filled(registry: Registry) -> Registry:
    """With three bundles, of which none serves."""
    for second in range(3):
        registry.add_bundle(write_tiny_bundle(registry.folder, second))
    return registry


def overwrite(registry: Registry, name: str, data: bytes) -> None:
    """As somebody could who works at the place itself."""
    store = registry._store
    store.replace(name, data, store.read(name))


def test_other_folders_are_no_bundles(in_folder):
    (in_folder.folder / "notes").mkdir()
    (in_folder.folder / f"{TEMPORARY_PREFIX}x").mkdir()
    assert len(in_folder.ids()) == 3


def test_bundles_are_listed_newest_first(registry):
    overwrite(registry, "notes/manifest.json", b"{}")
    ids = registry.ids()
    assert [bundle_id[:16] for bundle_id in ids] == ["20260101T120002Z", "20260101T120001Z", "20260101T120000Z"]


def test_nothing_serves_before_the_first_publish(registry):
    assert registry.current_id() is None
    with pytest.raises(InputError, match="has no published bundle; publish one of 2026"):
        registry.current()
    with pytest.raises(InputError, match="no earlier bundle to go back to"):
        registry.rollback()


def test_publishing_moves_the_pointer_and_rolling_back_moves_it_back(registry):
    new, middle, old = registry.ids()
    for bundle_id in (old, new, middle):
        registry.publish(bundle_id)
    assert registry.current() == registry.folder / middle
    assert registry.history() == [old, new]
    assert [registry.rollback(), registry.rollback()] == [new, old]
    assert (registry.current_id(), registry.history()) == (old, [])
    with pytest.raises(InputError, match=f"serving: {old}"):
        registry.rollback()


def test_a_bundle_that_is_withdrawn_serves_again_only_when_it_is_published_again(registry):
    new, middle, old = registry.ids()
    for bundle_id in (old, middle, new, middle):
        registry.publish(bundle_id)
    assert registry.withdraw(middle, FELL) == new
    assert registry.record(middle).withdrawn == FELL
    assert registry.history() == [old, middle]
    assert registry.rollback() == old, "a rollback passes over what was withdrawn"
    registry.publish(middle)
    assert registry.record(middle).withdrawn is None


def test_of_several_that_withdraw_a_bundle_one_does(registry, another):
    new, middle, old = registry.ids()
    for bundle_id in (old, middle, new):
        registry.publish(bundle_id)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: another().withdraw(new, FELL), range(3)))
    assert sorted(done, key=str) == [middle, None, None]
    assert registry.history() == [old]


def test_the_only_bundle_cannot_be_withdrawn_and_is_not_marked(registry):
    only = registry.ids()[0]
    registry.publish(only)
    with pytest.raises(InputError, match="no earlier bundle"):
        registry.withdraw(only, FELL)
    assert registry.record(only).withdrawn is None


def test_records_of_moves_and_reports_go_with_their_bundle(registry):
    new, middle, old = registry.ids()
    published = PointerMove(at=AT, by="somebody")
    report = GateReport(bundle_id=old, checks=(GateCheck(name="sums", passed=True, found="", required=""),))
    registry.publish(old, published)
    registry.save_gate_report(old, GateResult(at=AT, report=report))
    assert registry.record(old) == BundleRecord(published=published, gate=GateResult(at=AT, report=report))
    registry.publish(middle)
    registry.publish(new)
    assert registry.prune(1) == [old]
    assert registry.record(old) == BundleRecord()


def test_a_damaged_record_bars_nothing(registry):
    new, _, old = registry.ids()
    registry.publish(old, PointerMove(at=AT, by="somebody"))
    overwrite(registry, f"records/{old}.json", b"{")
    registry.publish(new)
    assert registry.rollback(PointerMove(at=AT, by="me")) == old
    assert registry.record(old).published.by == "me"


def test_a_pointer_tells_whether_it_was_reached_by_rolling_back(registry):
    new, middle, old = registry.ids()
    seen = []
    for bundle_id in (old, middle, new, old):
        registry.publish(bundle_id)
        seen.append(registry.pointer())
    registry.rollback()
    back = registry.pointer()
    assert [back.precedes(one) for one in seen] == [False, False, False, True]
    assert seen[0].precedes(back)
    assert not any(later.precedes(earlier) for earlier, later in pairwise(seen))


def test_the_history_is_bounded(in_folder):
    ids = in_folder.ids()[:2]
    for bundle_id in ids * (MOST_HISTORY // 2 + 1):
        in_folder.publish(bundle_id)
    assert len(in_folder.history()) == MOST_HISTORY
    assert in_folder.history()[-1] == ids[0]


def test_publishing_what_serves_changes_nothing(registry):
    old = registry.ids()[-1]
    registry.publish(old)
    registry.publish(old)
    assert registry.history() == []


def test_another_process_sees_the_pointer_at_once(registry, another):
    reader = another()
    registry.publish(registry.ids()[0])
    assert reader.current_id() == registry.ids()[0]


def test_a_bundle_that_is_not_there_is_refused(registry):
    names = ("", "..", "../x", "20260101T120000Z-none-00000000", "/etc/passwd", "x" * 10_000)
    for ask, bundle_id in product((registry.path, registry.publish), names):
        with pytest.raises(InputError, match=r"has no bundle .*; expected one of 2026"):
            ask(bundle_id)
    assert registry.current_id() is None


def test_a_bundle_that_cannot_be_opened_is_not_published(registry):
    new, _, old = registry.ids()
    registry.publish(old)
    (registry.folder / new / "fold_in.npy").unlink()
    with pytest.raises(BundleError, match=r"lacks fold_in\.npy"):
        registry.publish(new)
    assert registry.current_id() == old


def test_a_renamed_bundle_is_not_published(in_folder):
    new = in_folder.ids()[0]
    other = new[:-8] + "00000000"
    (in_folder.folder / new).rename(in_folder.folder / other)
    with pytest.raises(BundleError, match="the folder was renamed"):
        in_folder.publish(other)


def test_a_rollback_passes_over_bundles_that_are_gone(registry):
    new, middle, old = registry.ids()
    for bundle_id in (old, middle, new):
        registry.publish(bundle_id)
    registry._store.discard(middle)
    assert registry.rollback() == old


def test_a_damaged_pointer_is_refused_by_its_name(registry):
    for text in ("", '{"bundle": 7}', '{"bundle": "x", "histor'):
        overwrite(registry, POINTER, text.encode())
        with pytest.raises(InputError, match=rf"{POINTER} is damaged"):
            registry.current()


@pytest.mark.parametrize("odd", ["", ".", "a\0b", "../x", "x" * 100_000])
def test_a_pointer_to_what_is_no_id_has_no_record_and_is_refused(registry, odd):
    overwrite(registry, POINTER, json.dumps({"bundle": odd, "history": [odd]}).encode())
    overwrite(registry, "x.json", b'{"withdrawn": {"at": "2026-01-01T00:00:00Z", "by": "another file"}}')
    assert registry.record(odd) == BundleRecord()
    for refused in (registry.current, registry.rollback):
        with pytest.raises(InputError):
            refused()


def test_pruning_keeps_the_newest_what_serves_and_what_a_rollback_needs(registry):
    for second in range(3, 6):
        registry.add_bundle(write_tiny_bundle(registry.folder, second))
    ids = registry.ids()
    for row in (5, 4, 3):
        registry.publish(ids[row])
    assert registry.prune(1) == [ids[1], ids[2], ids[5]]
    assert registry.ids() == [ids[0], ids[3], ids[4]]
    assert registry.history() == [ids[4]]
    assert registry.rollback() == ids[4]


def test_an_open_bundle_outlives_its_pruning(registry):
    bundle = open_bundle(registry.path(registry.ids()[-1]))
    before = bundle.item_embeddings.copy()
    registry.prune(0)
    assert registry.ids() == []
    assert (bundle.item_embeddings == before).all()


def test_pruning_to_less_than_none_is_refused(registry):
    with pytest.raises(InputError, match="keep is -1; expected 0 or more"):
        registry.prune(-1)
    assert len(registry.ids()) == 3


def test_a_registry_that_is_not_there_has_no_bundles_and_takes_no_orders(tmp_path):
    registry = Registry(tmp_path / "nowhere")
    assert registry.ids() == []
    assert registry.current_id() is None
    with pytest.raises(InputError, match="is no folder; expected a registry"):
        registry.prune(3)


def test_a_disk_that_takes_no_pointer_leaves_the_old_one(in_folder, monkeypatch):
    new, _, old = in_folder.ids()
    in_folder.publish(old)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot change .*: No space left on device"):
        in_folder.publish(new)
    assert (in_folder.current_id(), in_folder.history()) == (old, [])
    assert not list(in_folder.folder.glob(f"{TEMPORARY_PREFIX}*"))


class RegistryLife(RuleBasedStateMachine):
    """Any sequence of orders, each of which may be cut short at any call to the operating system."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(Path(tempfile.mkdtemp()))
        self.made = 0

    def teardown(self) -> None:
        shutil.rmtree(self.registry.folder)

    @rule()
    def write(self) -> None:
        write_tiny_bundle(self.registry.folder, self.made)
        self.made += 1

    @rule(which=st.integers(0, 9), calls=st.integers(0, 8))
    def publish(self, which: int, calls: int) -> None:
        ids = self.registry.ids()
        if ids:
            chosen = ids[which % len(ids)]
            self._ordered(lambda: self.registry.publish(chosen), calls, {chosen})

    @rule(calls=st.integers(0, 8))
    def roll_back(self, calls: int) -> None:
        if self.registry.history():
            self._ordered(self.registry.rollback, calls, {self.registry.history()[-1]})

    @rule(keep=st.integers(0, 3), calls=st.integers(0, 60))
    def prune(self, keep: int, calls: int) -> None:
        self._ordered(lambda: self.registry.prune(keep), calls, {self.registry.current_id()})

    def _ordered(self, order: Callable[[], object], calls: int, after: set[str | None]) -> None:
        """Give the order in a process that dies at its `calls`-th call; the pointer is as before or as ordered."""
        before = self.registry.current_id()
        died = _in_a_process_that_dies(order, calls)
        assert self.registry.current_id() in (after | {before} if died else after)

    @invariant()
    def the_pointer_names_a_whole_bundle(self) -> None:
        current = self.registry.current_id()
        assert current is None or open_bundle(self.registry.current()).bundle_id == current
        assert all(self.registry.path(bundle_id) for bundle_id in self.registry.history())

    @invariant()
    def every_listed_bundle_is_whole(self) -> None:
        for bundle_id in self.registry.ids():
            assert open_bundle(self.registry.path(bundle_id)).bundle_id == bundle_id


def _in_a_process_that_dies(order: Callable[[], object], calls: int) -> bool:
    child = os.fork()
    if not child:
        _die_at(calls)
        order()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _die_at(calls: int) -> None:
    left = [calls]
    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, _counted(getattr(os, name), left))


def _counted(call: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def run(*arguments: object, **options: object) -> object:
        if not left[0]:
            os._exit(1)  # as abrupt as a kill: nothing is tidied up
        left[0] -= 1
        return call(*arguments, **options)

    return run


RegistryLife.TestCase.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
TestRegistryLife = RegistryLife.TestCase
