"""Tables in float16 and int8: small on disk, near enough in results, and their laws as sharp as rounding allows."""

from dataclasses import replace

import numpy as np
import pytest
from bundles import MADE_AT, edited, make_content, write_small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from index.bundle import open_bundle, write_bundle
from index.errors import InputError
from index.gate import check_bundle
from index.tables import PackedTable, pack_table

PACKED = ("float16", "int8")


def random_rows(seed: int) -> np.ndarray:
    """Rows from far below float16's smallest number to near its largest."""
    rng = np.random.default_rng(seed)
    magnitudes = 10.0 ** rng.integers(-9, 4, (20, 1))
    return (rng.standard_normal((20, 8)) * magnitudes).astype(np.float32)


def rounded(table: np.ndarray, precision: str) -> PackedTable:
    packed = pack_table(table, precision)
    assert isinstance(packed, PackedTable)
    return packed


@pytest.mark.parametrize("precision", PACKED)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_no_row_moves_farther_than_its_stated_rounding(precision, seed):
    table = random_rows(seed)
    packed = rounded(table, precision)
    moved = np.linalg.norm(packed[:].astype(float) - table.astype(float), axis=1)
    assert (moved <= packed.rounding(slice(None)) * (1 + 1e-6)).all()


@pytest.mark.parametrize("precision", PACKED)
@pytest.mark.parametrize("key", [3, slice(2, 5), np.array([4, 0, 4]), np.empty(0, np.int64)], ids=str)
def test_any_rows_are_read_as_of_the_whole_table_in_float32(precision, key):
    packed = rounded(make_content().fold_in, precision)
    assert packed[key].dtype == np.float32
    assert np.array_equal(packed[key], np.asarray(packed)[key])


@pytest.mark.parametrize("precision", PACKED)
def test_rows_of_zeros_stay_zeros(precision):
    assert not rounded(np.zeros((2, 4), np.float32), precision)[:].any()


@pytest.fixture(scope="module", params=PACKED)
def packed_bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return open_bundle(write_bundle(folder, make_content(), created_at=MADE_AT, precision=request.param))


def test_a_bundle_of_rounded_tables_passes_the_gate(packed_bundle):
    report = check_bundle(packed_bundle.path, None)
    assert report.passed, str(report)


def test_the_manifest_bounds_the_error_of_every_score(packed_bundle):
    users, items = make_content().user_embeddings, packed_bundle.item_embeddings
    error = packed_bundle.manifest.tables.errors["user_embeddings"]
    norms = np.maximum(np.linalg.norm(users, axis=1), np.linalg.norm(users, axis=1).mean())
    most = error * np.outer(norms, np.linalg.norm(items, axis=1))
    assert 0 < error < 0.02
    assert (np.abs(packed_bundle.user_embeddings[:] @ items.T - users @ items.T) <= most * (1 + 1e-4)).all()


def test_item_embeddings_stay_exact(packed_bundle):
    assert np.array_equal(packed_bundle.item_embeddings, make_content().item_embeddings)


def test_parts_of_rounded_tables_still_sum_to_the_item(packed_bundle):
    picked = np.array([3, 17])
    total = sum(packed_bundle.parts_of(picked).values())
    np.testing.assert_allclose(total, packed_bundle.item_embeddings[picked], atol=1e-5)


@pytest.mark.parametrize("name", ["fold_in", "item_parts/text"])
def test_a_row_that_rounding_cannot_explain_fails_the_gate(tmp_path, name):
    path = write_bundle(tmp_path, make_content(), created_at=MADE_AT, precision="float16")

    def shift(table: np.ndarray) -> None:
        table[5] += np.float16(0.1)

    failed = check_bundle(edited(path, f"{name}.npy", shift), None).failures
    assert {check.name for check in failed} <= {"fold-in gives users", "parts sum to items"}
    assert failed


def test_a_row_that_its_largest_number_would_drown_is_refused_and_nothing_is_written(tmp_path):
    content = make_content(embedding_size=128)
    own = np.full_like(content.user_own, 0.04)
    own[:, 0] = 10  # int8 has steps of 10 / 127, so .04 becomes 0 or .08
    content = replace(content, user_own=own, user_embeddings=content.user_embeddings - content.user_own + own)
    with pytest.raises(InputError, match=r"rounding moves a row of user_\w+\.npy by .*; expected at most 0\.02"):
        write_bundle(tmp_path / "registry", content, created_at=MADE_AT, precision="int8")
    assert not (tmp_path / "registry").exists()


def test_numbers_beyond_float16_are_refused(tmp_path):
    content = make_content()
    content = replace(content, fold_in=content.fold_in * 0 + 7e4, seen_items=content.seen_items[:0])
    content = replace(content, seen_offsets=content.seen_offsets * 0, user_embeddings=content.user_own)
    with pytest.raises(InputError, match=r"fold_in\.npy by (inf|nan)"):
        write_bundle(tmp_path, content, created_at=MADE_AT, precision="float16")


def test_float32_is_written_as_ever(tmp_path):
    bundle = open_bundle(write_small_bundle(tmp_path))
    assert bundle.manifest.tables.precision == "float32"
    assert isinstance(bundle.user_embeddings, np.ndarray)
