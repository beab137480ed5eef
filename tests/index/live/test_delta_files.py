"""What a live index acknowledged is there after a kill, a full disk, a cut or damaged log; damage is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from disks import full_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InputError
from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.delta_log import Change, LogWriter, read_log
from index.live.live_index import DeltaLimits, LiveIndex

VECTORS = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
IDS = IdTable.build([f"i{row}" for row in range(30)])
LIMITS = DeltaLimits(10**9, 10**9, 10**9)

WRITER = """
import sys
from pathlib import Path

import numpy as np

from index.ids import IdTable
from index.item_index import ItemIndex
from index.live.live_index import DeltaLimits, LiveIndex

vectors = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
ids = IdTable.build([f"i{row}" for row in range(30)])
limits = DeltaLimits(20, 10**9, 10**9)  # so that it is compacted all the time
live = LiveIndex(Path(sys.argv[1]), ItemIndex.build(vectors), ids, "bundle", build=ItemIndex.build, limits=limits)
for i in range(10**6):
    live.change({f"new{i}": np.full(4, i, np.float32)}, [f"new{i - 10}"])
    print(i, flush=True)
"""


def opened(folder: Path) -> LiveIndex:
    return LiveIndex(folder, ItemIndex.build(VECTORS), IDS, "bundle", build=ItemIndex.build, limits=LIMITS)


def items_of(live: LiveIndex) -> set[str]:
    rows = live.snapshot.search(np.ones(4, np.float32), live.n_items)[0][0]
    return {live.item_id(row) for row in rows.tolist()}


def change(i: int) -> Change:
    return Change((f"a{i}", f"b{i}"), (2 * i, 2 * i + 1), np.full((2, 4), i, np.float32), (100 + i,))


def written(path: Path, n: int) -> bytes:
    log = LogWriter(path)
    for i in range(n):
        log.append(change(i))
    log.close()
    return path.read_bytes()


def numbers_in(path: Path, data: bytes) -> list[int]:
    """Which of the changes 0, 1, ... a log of these bytes has; each must be whole."""
    path.write_bytes(data)
    found = []
    for read in read_log(path, 4).changes:
        i = int(read.removed[0]) - 100
        expected = change(i)
        assert (read.ids, read.rows, read.removed) == (expected.ids, expected.rows, expected.removed)
        np.testing.assert_array_equal(read.vectors, expected.vectors)
        found.append(i)
    return found


@pytest.mark.parametrize("after_lines", [1, 25, 70, 200])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path, after_lines):
    folder = tmp_path / "delta"
    with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(after_lines):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
    live = opened(folder)
    items = items_of(live) - {f"i{row}" for row in range(30)}
    last = max(int(item_id[3:]) for item_id in items)
    assert last in (acknowledged, acknowledged + 1)  # the kill may have come between the sync and the print
    assert items == {f"new{i}" for i in range(max(0, last - 9), last + 1)}
    live.close()


@settings(max_examples=40)
@given(cut=st.integers(0, 10_000))
def test_a_log_cut_anywhere_has_every_change_before_the_cut(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("logs") / "log"
    data = written(path, 5)
    cut = cut % len(data)
    whole = cut * 5 // len(data)  # records are equally long
    assert numbers_in(path, data[:cut]) == list(range(whole))


@settings(max_examples=40)
@given(place=st.integers(0, 10_000), n_bytes=st.integers(1, 40))
def test_a_damaged_log_has_every_change_but_the_damaged_ones_and_says_how_much_it_skipped(
    tmp_path_factory, place, n_bytes
):
    path = tmp_path_factory.mktemp("logs") / "log"
    data = bytearray(written(path, 5))
    place %= len(data)
    damaged = range(place, min(place + n_bytes, len(data)))
    for at in damaged:
        data[at] ^= 0xFF
    length = len(data) // 5
    expected = [i for i in range(5) if not set(damaged) & set(range(i * length, (i + 1) * length))]
    assert numbers_in(path, bytes(data)) == expected
    assert read_log(path, 4).unreadable == length * (5 - len(expected))


def test_a_log_goes_on_behind_a_tail_that_was_cut_short(tmp_path):
    live = opened(tmp_path / "delta")
    live.change({"a": np.ones(4)})
    live.change({"b": np.ones(4)})
    live.close()
    log = tmp_path / "delta" / "log-000000"
    log.write_bytes(log.read_bytes()[:-3])
    live = opened(tmp_path / "delta")
    assert live.unreadable > 0
    live.change({"c": np.ones(4)})
    live.close()
    live = opened(tmp_path / "delta")
    assert live.unreadable == 0
    assert {"a", "c"} <= items_of(live)
    assert live.row("b") is None
    live.close()


def test_a_change_that_a_full_disk_refuses_changes_nothing_and_the_next_one_is_whole(tmp_path):
    live = opened(tmp_path / "delta")
    live.change({"a": np.ones(4)})
    with full_disk(room=(tmp_path / "delta" / "log-000000").stat().st_size + 10), pytest.raises(OSError, match="large"):
        live.change({"b": np.ones(4)})
    assert live.row("b") is None
    live.change({"c": np.ones(4)})
    live.close()
    live = opened(tmp_path / "delta")
    assert live.unreadable == 0
    assert items_of(live) - {f"i{row}" for row in range(30)} == {"a", "c"}
    live.close()


def test_a_compaction_that_a_full_disk_refuses_leaves_the_index_as_it_was(tmp_path):
    live = opened(tmp_path / "delta")
    live.change({"a": np.ones(4)})
    with full_disk(room=300), pytest.raises(InputError, match="cannot write into"):
        live.compact()
    live.change({"b": np.ones(4)})
    assert live.compact()
    live.close()
    live = opened(tmp_path / "delta")
    assert {"a", "b"} <= items_of(live)
    assert sorted(path.name for path in (tmp_path / "delta").iterdir()) == ["base-000002", "delta.json", "log-000002"]
    live.close()


@pytest.mark.parametrize("removed", [["base-000001"], ["log-000000"], []], ids=["before", "after", "with leftovers"])
def test_a_compaction_that_was_killed_at_any_step_loses_nothing(tmp_path, removed):
    """The folder as of before the new base, and as of before the old log went."""
    live = opened(tmp_path / "delta")
    live.change({"a": np.ones(4)}, ["i3"])
    shutil.copy(tmp_path / "delta" / "log-000000", tmp_path / "old-log")
    live.compact()
    live.change({"b": np.ones(4)}, ["i4"])
    live.close()
    shutil.copy(tmp_path / "old-log", tmp_path / "delta" / "log-000000")
    for name in removed:
        path = tmp_path / "delta" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    live = opened(tmp_path / "delta")
    assert items_of(live) == {f"i{row}" for row in range(30) if row not in (3, 4)} | {"a", "b"}
    live.close()


@pytest.mark.parametrize("name", ["item.faiss", "vectors.npy", "rows.npy", "base.json"])
def test_a_damaged_compacted_index_is_refused_by_name(tmp_path, name):
    live = opened(tmp_path / "delta")
    live.change({"a": np.ones(4)})
    live.compact()
    live.close()
    path = tmp_path / "delta" / "base-000001" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=name):
        opened(tmp_path / "delta")


def test_a_folder_of_another_format_is_refused(tmp_path):
    opened(tmp_path / "delta").close()
    owner = tmp_path / "delta" / "delta.json"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="format=99"):
        opened(tmp_path / "delta")
