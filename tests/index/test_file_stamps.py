import os
import shutil

import numpy as np
import pytest
from bundles import write_small_bundle

from index.bundle import open_bundle
from index.file_stamps import FileStamps
from index.paging import page_in


def test_a_bundle_that_nobody_touches_stays_sealed(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path))
    stamps = FileStamps.of(bundle.path)
    np.load(bundle.path / "fold_in.npy")
    os.link(bundle.path / "fold_in.npy", tmp_path / "sibling")  # as `index build` does
    assert stamps.changed_files() == []


@pytest.mark.parametrize(
    ("damage", "change"),
    [
        (lambda file: os.truncate(file, 100), "fold_in.npy has 100 bytes, had 1408"),
        (lambda file: os.utime(file, ns=(0, 0)), "fold_in.npy was written to"),
        (lambda file: file.unlink(), "fold_in.npy is gone (No such file or directory)"),
        (lambda file: shutil.copy2(file, file.with_suffix(".new")).replace(file), "fold_in.npy is another file"),
    ],
)
def test_what_became_of_a_file_is_told(tmp_path, damage, change):
    bundle = open_bundle(write_small_bundle(tmp_path))
    stamps = FileStamps.of(bundle.path)
    damage(bundle.path / "fold_in.npy")
    assert stamps.changed_files() == [change]


def test_a_bundle_in_memory_outlives_its_files(tmp_path):
    mapped = open_bundle(write_small_bundle(tmp_path))
    held = open_bundle(mapped.path, mapped=False)
    index = held.index()
    expected = mapped.index().search(mapped.user_embeddings[:5], 10)
    arrays = {name: array.copy() for name, array in mapped.arrays().items()}
    for name in held.manifest.files:
        os.truncate(held.path / name, 0)
    for name, array in held.arrays().items():
        assert np.array_equal(array, arrays[name]), name
    for found, wanted in zip(index.search(held.user_embeddings[:5], 10), expected, strict=True):
        assert np.array_equal(found, wanted)
    with pytest.raises(ValueError, match="read-only"):
        held.fold_in[0] = 0


def test_every_array_is_paged_in_within_the_budget(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path))
    arrays = bundle.arrays()
    assert {f"{name}" for name in arrays} == {name for name in bundle.manifest.files if name.endswith(".npy")}
    assert page_in(bundle, 10**9) == sum(array.nbytes for array in arrays.values())
    assert page_in(bundle, arrays["item_embeddings.npy"].nbytes) >= arrays["item_embeddings.npy"].nbytes
    assert page_in(bundle, 0) == 0
