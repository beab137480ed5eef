"""A bundle may hold a map of its items; a damaged one is refused, and a bundle without one is as it always was."""

from pathlib import Path

import numpy as np
import pytest
from bundles import MADE_AT, edited, make_content, make_map, with_manifest, write_small_bundle

from index.bundle import BundleError, open_bundle, write_bundle
from index.errors import InputError
from index.item_map import CLUSTERS, POSITIONS
from index.reindex import reindex


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path, map=make_map())


def test_a_map_comes_back_as_it_was_written(written):
    found, expected = open_bundle(written).map, make_map()
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_array_equal(found.cluster_of, expected.cluster_of)
    assert (found.method, found.clusters) == ("random", 4)


def test_a_bundle_without_a_map_has_no_files_of_one(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path))
    assert (bundle.map, bundle.manifest.map) == (None, None)
    assert not (bundle.path / "map").exists()


def test_a_sibling_with_another_index_has_the_same_map(written):
    sibling = open_bundle(reindex(written, "HNSW8", created_at=MADE_AT))
    np.testing.assert_array_equal(sibling.map.positions, make_map().positions)


def outside(positions: np.ndarray) -> None:
    positions[7] = 0.5, 1.5


def no_number(positions: np.ndarray) -> None:
    positions[7] = np.nan


def unknown_cluster(clusters: np.ndarray) -> None:
    clusters[7] = 4


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (POSITIONS, outside, r"positions.npy has \[0.5, 1.5\] in row 7; expected numbers from 0 to 1"),
        (POSITIONS, no_number, r"positions.npy has \[nan, nan\] in row 7"),
        (CLUSTERS, unknown_cluster, r"clusters.npy has cluster 4; expected 0..3"),
    ],
)
def test_numbers_that_no_map_has_are_found_when_the_bundle_is_opened(written, name, damage, message):
    with pytest.raises(BundleError, match=message):
        open_bundle(edited(written, name, damage))


def test_a_manifest_without_the_map_that_is_there_is_refused(written):
    with pytest.raises(BundleError, match=r"lists other files .*map/clusters.npy, map/positions.npy"):
        open_bundle(with_manifest(written, lambda record: record.update(map=None)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": np.zeros((39, 2), np.float32)},
            r"positions.npy is float32 \(39, 2\); expected float32 \(40, 2\)",
        ),
        ({"cluster_of": np.zeros(40, np.int64)}, "clusters.npy is int64"),
        ({"cluster_of": np.full(40, 4, np.uint16)}, r"clusters.npy has cluster 4; expected 0..3"),
        ({"positions": np.full((40, 2), -0.1, np.float32)}, "expected numbers from 0 to 1"),
        ({"method": ""}, "map: method: "),
    ],
)
def test_a_wrong_map_is_never_written(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        write_bundle(tmp_path / "registry", make_content(map=make_map(**changes)), created_at=MADE_AT)
