import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from disks import full_disk

from index.errors import InputError
from service.events.schema import FORMAT, upgrade
from service.hidden.sqlite_store import SqliteHiddenItems
from service.retrain.sqlite_job_store import SqliteJobStore
from service.sqlite_files import connect_to_read, is_unwritten, is_wrong
from service.storage.sqlite_database import prepare


def write(path: Path, values: str = "(1)") -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        connection.execute(f"INSERT INTO t VALUES {values}")


def read(path: Path) -> list[tuple[int]]:
    with closing(connect_to_read(path)) as connection:
        return connection.execute("SELECT a FROM t").fetchall()


def test_a_file_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / "file")
    with full_disk():
        assert read(tmp_path / "file") == [(1,)]
    write(tmp_path / "file", "(2)")
    assert read(tmp_path / "file") == [(1,), (2,)]


def test_a_wal_that_a_killed_writer_left_is_never_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "file")
    (tmp_path / "file-wal").write_bytes(b"what it wrote last")
    with full_disk(), pytest.raises(sqlite3.OperationalError):
        read(tmp_path / "file")


@pytest.mark.parametrize("name", ["missing", "missing/file", "a" * 300])
def test_what_cannot_be_opened_is_one_kind_of_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(sqlite3.Error):
        connect_to_read(tmp_path / name)


def test_a_file_that_nothing_was_written_to_is_known(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert is_unwritten(path)
    path.touch()
    assert is_unwritten(path)
    write(path)
    assert not is_unwritten(path)


def test_a_wrong_file_or_path_is_told_from_a_disk_that_refuses(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage" * 1_000)
    for path in (garbage, tmp_path):
        with pytest.raises(sqlite3.Error) as error, closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (a)")
        assert is_wrong(error.value, path)
    with full_disk(), pytest.raises(sqlite3.Error) as error:
        write(tmp_path / "file")
    assert not is_wrong(error.value, tmp_path / "file")
    assert not is_wrong(PermissionError(13, "no"), tmp_path)
    assert is_wrong(NotADirectoryError(20, "no"), tmp_path)


OPENED_BY: list[Callable[[Path], object]] = [
    lambda path: prepare(path, FORMAT, partial(upgrade, counted_s=1.0)),
    SqliteHiddenItems,
    lambda path: SqliteJobStore(path, lambda: 0.0),
]


@pytest.mark.parametrize("opened", OPENED_BY)
def test_a_schema_that_is_no_text_is_a_wrong_file(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    write(path)
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE t (a)", b"CREATE \xe2 TABLE \xe2"))
    with pytest.raises(InputError, match="cannot be used"):
        opened(path)
