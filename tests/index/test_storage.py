import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from index.errors import InputError
from index.reading import map_array
from index.storage import (
    TEMPORARY_PREFIX,
    files_under,
    locked,
    remove_leftovers,
    replace_file,
    save_array,
    sha256_of,
    temporary_folder,
)


def test_a_replaced_file_is_seen_old_or_new_and_never_between(tmp_path):
    path = tmp_path / "pointer"
    versions = [bytes([letter]) * 100_000 for letter in b"ab"]
    replace_file(path, versions[0])
    writer = threading.Thread(target=lambda: [replace_file(path, versions[turn % 2]) for turn in range(30)])
    writer.start()
    while writer.is_alive():
        assert path.read_bytes() in versions
    writer.join()
    assert list(tmp_path.iterdir()) == [path]


def test_an_array_comes_back_as_a_read_only_map(tmp_path):
    save_array(tmp_path / "below" / "a.npy", np.arange(6).reshape(2, 3)[:, ::2])
    array = map_array(tmp_path / "below" / "a.npy")
    assert array.tolist() == [[0, 2], [3, 5]]
    assert type(array) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_the_sum_is_the_files_sha256(tmp_path):
    data = bytes(1_000_003)
    (tmp_path / "f").write_bytes(data)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(data).hexdigest()


def test_files_are_named_by_their_path_below_the_folder(tmp_path):
    save_array(tmp_path / "a" / "b.npy", np.zeros(1))
    (tmp_path / "link").symlink_to("nowhere")
    assert list(files_under(tmp_path)) == ["a/b.npy", "link"]


def test_a_temporary_folder_is_gone_after_a_failure(tmp_path):
    with pytest.raises(InputError, match=r"cannot write into .*: No space left on device; nothing was left"):
        _fill_until_the_disk_is_full(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _fill_until_the_disk_is_full(parent: Path) -> None:
    with temporary_folder(parent) as folder:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")


def test_leftovers_go_unless_their_writer_lives(tmp_path):
    dead, file = tmp_path / f"{TEMPORARY_PREFIX}dead", tmp_path / f"{TEMPORARY_PREFIX}file"
    (dead / "below").mkdir(parents=True)
    file.write_text("half")
    with temporary_folder(tmp_path) as alive:
        assert remove_leftovers(tmp_path) == [dead.name, file.name]
        assert list(tmp_path.iterdir()) == [alive]


def test_a_lock_that_another_holds_is_not_given_twice(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, wait=False):
        pass
