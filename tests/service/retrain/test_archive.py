from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.retrain import archive
from service.retrain.archive import Rewritten, archived_events, archived_position, forget_in_archive

N = 250


def write(file: Path, first: int, **more: list[Any]) -> None:
    """Events as the first releases archived them: of three users in turn, without the columns of later ones."""
    places = range(first, first + N)
    columns = {
        "user_id": [("ann", "bob", "用户七")[place % 3] for place in places],
        "item_id": [f"item-{place}" for place in places],
        "kind": ["click"] * N,
        "value": [1.0] * N,
        "timestamp": [1e9 + place for place in places],
        "event_id": [f"e{place}" for place in places],
        "request_id": [None if place % 2 else "r1" for place in places],
        "items": [["item-1"] if place % 5 == 0 else [] for place in places],
        "position": list(places),
    }
    pq.write_table(pa.table(columns | more), file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(archive, "BATCH_ROWS", 64)
    write(tmp_path / f"{0:020}.parquet", 1)
    write(tmp_path / f"{N:020}.parquet", N + 1, quantity=[2.0] * N, portion=[None] * N)
    return tmp_path


def test_a_person_is_removed_up_to_a_position_and_all_else_stays(folder: Path) -> None:
    before = {file.name: pq.read_table(file).to_pylist() for file in folder.glob("*.parquet")}
    found = forget_in_archive(folder, lambda ids: {"ann": N + 100} if "ann" in set(ids) else {})
    assert found.files == 2
    removed = 0
    for name, rows in before.items():
        for old, new in zip(rows, pq.read_table(folder / name).to_pylist(), strict=True):
            if old["user_id"] == "ann" and old["position"] <= N + 100:
                removed += 1
                assert (new["kind"], new["user_id"], new["item_id"], new["items"]) == ("forgotten", "", "", [])
                assert (new["position"], new["timestamp"]) == (old["position"], old["timestamp"])
            else:
                assert new == old
    assert removed == found.events > 100
    assert archived_position(folder) == 2 * N
    assert min(archived_events(folder, "ann")) > N + 100
    assert forget_in_archive(folder, lambda ids: {"ann": N + 100} if "ann" in set(ids) else {}) == Rewritten(0, 0)


def test_a_file_without_the_person_is_not_written(folder: Path) -> None:
    inodes = {file.stat().st_ino for file in folder.glob("*.parquet")}
    assert forget_in_archive(folder, lambda _: {}) == Rewritten(0, 0)
    assert forget_in_archive(folder, lambda _: {"ann": 0, "carl": 10**9}) == Rewritten(0, 0)
    assert {file.stat().st_ino for file in folder.glob("*.parquet")} == inodes
    assert forget_in_archive(folder / "none", lambda _: {}) == Rewritten(0, 0)


def test_what_is_kept_of_a_person_is_read_from_files_of_any_release(folder: Path) -> None:
    events = archived_events(folder, "用户七")
    assert [position for position in events if position % 3 != 2] == []
    assert (events[N + 1].quantity, events[2].quantity) == (2.0, None)
    assert archived_events(folder, "nobody") == {}
