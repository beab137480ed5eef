"""Of two bundles of one catalogue memory holds the arrays of equal files once, and neither needs the other."""

import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import write_retrained_bundle, write_small_bundle

from index.bundle import Bundle, BundleError, open_bundle
from index.registry import Registry

LEARNED = ("user_embeddings.npy", "item_embeddings.npy", "fold_in.npy", "user_own.npy", "item_parts/")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry: Path = tmp_path_factory.mktemp("registry")
    write_small_bundle(registry)
    write_retrained_bundle(registry, after_seconds=1)
    return registry


@pytest.fixture
def pair(written: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle and another one that was trained with the same interactions, to damage."""
    shutil.copytree(written, tmp_path / "registry")
    first, second = sorted(path for path in (tmp_path / "registry").iterdir() if path.is_dir())
    return first, second


def shared(bundle: Bundle, other: Bundle) -> set[str]:
    others = other.arrays()
    return {name for name, array in bundle.arrays().items() if array is others[name]}


def test_all_but_what_was_learned_again_is_taken_from_the_open_bundle(pair: tuple[Path, Path]) -> None:
    first = open_bundle(pair[0])
    second = open_bundle(pair[1], shared_with=[first])
    assert shared(second, first) == {name for name in first.arrays() if not name.startswith(LEARNED)}
    maps = Path("/proc/self/maps").read_text()
    assert f"{pair[1]}/item_embeddings.npy" in maps
    assert f"{pair[1]}/user_ids/hashes.npy" not in maps


def test_every_array_is_equal_to_the_one_that_is_opened_alone(pair: tuple[Path, Path]) -> None:
    alone = open_bundle(pair[1]).arrays()
    together = open_bundle(pair[1], shared_with=[open_bundle(pair[0])]).arrays()
    assert together.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(together[name], array)


def test_the_bundle_says_how_many_bytes_its_files_have_and_how_many_are_shared(pair: tuple[Path, Path]) -> None:
    first = open_bundle(pair[0])
    second = open_bundle(pair[1], shared_with=[first])
    sizes = {name: (pair[1] / name).stat().st_size for name in second.manifest.files}
    assert (first.shared_bytes, second.file_bytes) == (0, sum(sizes.values()))
    assert second.shared_bytes == sum(sizes[name] for name in shared(second, first))


def test_bundles_without_an_equal_file_share_nothing_though_all_shapes_are_equal(tmp_path: Path) -> None:
    names = {"user_ids": [f"u{row}" for row in range(30)], "item_ids": [f"i{row}" for row in range(40)]}
    first = open_bundle(write_small_bundle(tmp_path))
    second = open_bundle(write_small_bundle(tmp_path, seed=1, **names), shared_with=[first])
    same = {name for name, found in first.manifest.files.items() if second.manifest.files[name] == found}
    assert shared(second, first) == same == {"items/bytes.npy", "items/offsets.npy"}


def test_a_file_is_taken_from_the_first_of_the_open_bundles_that_has_it(pair: tuple[Path, Path]) -> None:
    first, again = open_bundle(pair[0]), open_bundle(pair[0])
    second = open_bundle(pair[1], shared_with=[first, again])
    assert shared(second, first)
    assert not shared(second, again)


def edit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("damage", "verify"), [(edit, True), (truncate, True), (truncate, False), (Path.unlink, False)]
)
def test_a_damaged_file_is_refused_though_an_open_bundle_has_it_whole(
    pair: tuple[Path, Path], damage: Callable[[Path], None], verify: bool
) -> None:
    first = open_bundle(pair[0])
    damage(pair[1] / "user_ids/hashes.npy")
    with pytest.raises(BundleError, match=r"user_ids/hashes\.npy"):
        open_bundle(pair[1], verify=verify, shared_with=[first])


def test_a_verified_bundle_takes_nothing_from_one_that_was_not_verified(pair: tuple[Path, Path]) -> None:
    unverified = open_bundle(pair[0], verify=False)
    assert open_bundle(pair[1], shared_with=[unverified]).shared_bytes == 0
    assert open_bundle(pair[1], known=True, shared_with=[unverified]).shared_bytes == 0
    assert open_bundle(pair[1], verify=False, shared_with=[unverified]).shared_bytes


def test_a_bundle_in_memory_takes_from_one_in_memory_and_never_from_a_map(pair: tuple[Path, Path]) -> None:
    mapped, loaded = open_bundle(pair[0]), open_bundle(pair[0], mapped=False)
    second = open_bundle(pair[1], mapped=False, shared_with=[mapped, loaded])
    assert not shared(second, mapped)
    assert second.user_ids.hashes is loaded.user_ids.hashes
    assert open_bundle(pair[1], shared_with=[loaded]).shared_bytes == 0


@pytest.mark.parametrize("mapped", [True, False])
def test_the_second_bundle_answers_on_after_the_first_is_closed_and_pruned(
    pair: tuple[Path, Path], mapped: bool
) -> None:
    registry = Registry(pair[0].parent)
    alone = open_bundle(pair[1], mapped=False).arrays()
    first = open_bundle(pair[0], mapped=mapped)
    second = open_bundle(pair[1], mapped=mapped, shared_with=[first])
    closed = weakref.ref(first)
    del first
    gc.collect()
    registry.publish(pair[1].name)
    assert registry.prune(0) == [pair[0].name]
    assert closed() is None
    assert not pair[0].exists()
    for name, array in second.arrays().items():
        np.testing.assert_array_equal(array, alone[name])
    assert second.user_ids.row("user-7") == 7
