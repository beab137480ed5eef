"""A start reads no file again that the service has verified and nobody has touched since; any touch is a full read."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import edited, write_small_bundle

from index import bundle as bundle_module
from index import item_index
from index.errors import InputError
from index.registry import Registry
from service.bundles import verified_files
from service.bundles.open_published import open_published
from service.bundles.verified_files import FILE, SETTLED_NS, Verified, VerifiedFiles, identities
from service.settings import Settings


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verified_files, "SETTLED_NS", 0)  # else each test would wait for a second
    bundle = write_small_bundle(tmp_path / "registry")
    Registry(tmp_path / "registry").publish(bundle.name)
    return bundle


@pytest.fixture
def n_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The bundles whose files were read for their sums."""
    read: list[Path] = []
    check = bundle_module.check_sums
    monkeypatch.setattr(bundle_module, "check_sums", lambda path, manifest: (read.append(path), check(path, manifest)))
    return read


def start(bundle: Path, **settings: object) -> bool:
    return open_published(Settings(registry=bundle.parent, bundle_fallback=False, **settings)).bundle.verified


def test_the_second_start_reads_no_sums_and_serves_a_verified_bundle(published: Path, n_read: list[Path]) -> None:
    assert start(published)
    assert start(published)
    assert len(n_read) == 1


def rewritten_in_place(file: Path) -> None:
    """Another byte, with the size, the inode and the time of writing as before."""
    found, data = file.stat(), file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def replaced_by_a_copy(file: Path) -> None:
    shutil.copy2(file, file.with_suffix(".new"))
    rewritten_in_place(file.with_suffix(".new"))
    file.with_suffix(".new").replace(file)


@pytest.mark.parametrize("damage", [rewritten_in_place, replaced_by_a_copy])
@pytest.mark.parametrize("name", ["fold_in.npy", "index/item.faiss", "seen/user_items.npy"])
def test_a_byte_changed_after_it_was_verified_is_found(
    published: Path, name: str, damage: Callable[[Path], None]
) -> None:
    start(published)
    damage(published / name)
    with pytest.raises(InputError, match=name.rpartition("/")[2]):
        start(published)


def test_another_bundle_of_the_same_name_is_read(published: Path, n_read: list[Path]) -> None:
    start(published)
    other = edited(published, "popularity/trend.npy", lambda trend: trend.__imul__(2))
    Registry(other.parent).publish(other.name)
    start(other)
    assert n_read == [published, other]


@pytest.mark.parametrize("record", [b"", b"{}", b"[" * 5_000, b'{"bundle": "x", "files": {}}'])
def test_a_damaged_record_means_that_all_is_read(published: Path, n_read: list[Path], record: bytes) -> None:
    start(published)
    (published.parent / "service" / FILE).write_bytes(record)
    assert start(published)
    assert len(n_read) == 2


def test_a_data_folder_that_cannot_be_written_does_not_keep_a_bundle_from_serving(published: Path) -> None:
    (published.parent / "taken").write_text("a file has the folder's place")
    assert start(published, data=published.parent / "taken")


def test_files_that_were_just_written_are_not_remembered(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path)
    files = identities(bundle)
    newest = max(one.changed_ns for one in files.values())
    record, verified = VerifiedFiles(tmp_path / "data"), Verified(bundle=bundle.name, files=files, largest_norm=2.5)
    record.remember(verified, now_ns=newest + SETTLED_NS // 2)
    assert record.find(bundle.name, files) is None
    record.remember(verified, now_ns=newest + 2 * SETTLED_NS)
    assert record.find(bundle.name, files) == verified


def test_a_start_that_reads_no_sums_knows_the_largest_norm(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(registry=published.parent)
    expected = open_published(settings).bundle.index().norm
    monkeypatch.setattr(item_index, "largest_norm", lambda vectors: pytest.fail("read all vectors"))
    assert open_published(settings).bundle.index().norm == expected


def test_nothing_is_remembered_where_sums_are_not_checked(published: Path) -> None:
    start(published, verify_bundle="off")
    assert not (published.parent / "service" / FILE).exists()
