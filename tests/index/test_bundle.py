import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundles import make_anchor, make_content, write_small_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from index.bundle import Bundle, BundleError, open_bundle
from index.content import anchor_arrays
from index.errors import InputError
from index.item_index import exact_search
from index.manifest import digest_of, manifest_bytes
from index.recency import Recency

ARRAYS = ["user_embeddings", "item_embeddings", "fold_in", "user_own", "seen_offsets", "seen_items"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def copied(whole, tmp_path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


@given(n_users=st.integers(1, 9), n_items=st.integers(2, 9), size=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_what_is_written_comes_back_equal(tmp_path_factory, n_users, n_items, size, seed):
    content = make_content(n_users, n_items, size, seed=seed)
    sizes = {"n_users": n_users, "n_items": n_items, "embedding_size": size, "seed": seed}
    bundle = open_bundle(write_small_bundle(tmp_path_factory.mktemp("registry"), **sizes))
    for name in [*ARRAYS, "popularity_count", "popularity_trend"]:
        np.testing.assert_array_equal(getattr(bundle, name), getattr(content, name))
    for folder in ("item_parts", "neighbours"):
        found, expected = getattr(bundle, folder), getattr(content, folder)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    assert (list(bundle.user_ids), list(bundle.item_ids)) == (content.user_ids, content.item_ids)
    assert [bundle.item(row) for row in range(n_items)] == content.items


def test_recency_and_anchor_come_back_and_users_without_an_own_term_have_zeros(tmp_path):
    recency, anchor = Recency(tau=4, floor=0.1), make_anchor()
    bundle = open_bundle(write_small_bundle(tmp_path, recency=recency, anchor=anchor, has_own=False))
    assert (bundle.recency, bundle.anchor.kappa, bundle.anchor.rho) == (recency, 2, 1.25)
    found, expected = dict(anchor_arrays(bundle.anchor)), dict(anchor_arrays(anchor))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert (bundle.user_own.shape, bundle.user_own.any()) == ((30, 8), False)
    assert bundle.user_own.strides == (0, 0)
    assert not bundle.user_own.flags.writeable
    assert not (bundle.path / "user_own.npy").exists()


def test_the_manifest_says_what_the_bundle_is(whole):
    manifest = open_bundle(whole).manifest
    assert manifest.bundle_id == whole.name
    assert whole.name.startswith("20260101T120000Z-anchorrec-")
    assert (manifest.n_users, manifest.n_items, manifest.embedding_size) == (30, 40, 8)
    assert manifest.index.recall == {"recall@20": 1.0, "recall@100": 1.0}
    assert manifest.metrics["valid"] == {"recall@20": 0.2, "ndcg@20": 0.1}
    assert len(manifest.files) == len([path for path in whole.rglob("*") if path.is_file()]) - 1


def test_a_user_has_seen_and_an_item_was_seen_by_the_same_pairs(whole):
    bundle = open_bundle(whole)
    by_user = {(user, int(item)) for user in range(30) for item in bundle.seen(user)}
    by_item = {(int(user), item) for item in range(40) for user in bundle.users_of(item)}
    assert by_user == by_item
    assert len(by_user) == bundle.manifest.n_interactions
    assert len(bundle.seen(29)) == 0


def test_opening_copies_nothing(whole):
    bundle = open_bundle(whole, verify=False)
    arrays = [getattr(bundle, name) for name in ARRAYS] + [bundle.user_ids.strings.blob, bundle.item_parts["text"]]
    assert all(isinstance(_base(array), np.memmap) for array in arrays)
    assert not any(array.flags.writeable for array in arrays)


def _base(array: np.ndarray) -> object:
    while isinstance(array, np.ndarray) and type(array) is np.ndarray:
        array = array.base
    return array


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW8"])
def test_the_bundles_index_answers_from_the_file(tmp_path, factory):
    bundle = open_bundle(write_small_bundle(tmp_path, factory=factory))
    rows, scores = bundle.index().search(bundle.user_embeddings[3], 5, bundle.seen(3))
    _, exact = exact_search(bundle.item_embeddings, bundle.user_embeddings[3], 5, bundle.seen(3))
    assert rows.shape == (1, 5)
    assert not set(rows[0]) & set(bundle.seen(3))
    assert (scores <= exact).all()


def test_odd_ids_are_kept_as_they_are(tmp_path):
    odd = ["a/b", "../..", "a b", "🪑", "x" * 10_000, *(f"user-{row}" for row in range(25))]
    bundle = open_bundle(write_small_bundle(tmp_path, user_ids=odd))
    assert list(bundle.user_ids) == odd
    assert bundle.user_ids.row("🪑") == 3


def test_the_same_content_at_the_same_second_is_the_same_bundle(tmp_path):
    assert write_small_bundle(tmp_path) == write_small_bundle(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert write_small_bundle(tmp_path, seed=1) != write_small_bundle(tmp_path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def edited(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGE = [
    (truncated, "damaged or edited"),
    (edited, "damaged or edited"),
    (emptied, "is damaged"),
    (Path.unlink, "lacks"),
]


@pytest.mark.parametrize("name", ["item_embeddings.npy", "user_ids/hashes.npy", "items/bytes.npy", "index/item.faiss"])
@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_damaged_file_is_refused_by_its_name(copied, name: str, damage: Callable[[Path], None], message: str):
    damage(copied / name)
    with pytest.raises(BundleError, match=message) as refused:
        open_bundle(copied)
    assert name in str(refused.value)


@pytest.mark.parametrize("damage", [truncated, emptied, Path.unlink])
def test_a_truncated_array_is_refused_even_without_verifying(copied, damage):
    damage(copied / "fold_in.npy")
    with pytest.raises(BundleError, match=r"fold_in\.npy"):
        open_bundle(copied, verify=False)


def test_a_truncated_index_is_refused_when_it_is_opened(copied):
    truncated(copied / "index/item.faiss")
    with pytest.raises(InputError, match=r"item\.faiss is no readable FAISS index"):
        open_bundle(copied, verify=False).index()


def test_a_file_too_many_is_refused(copied):
    (copied / "seen/extra.npy").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"has, beyond its manifest, seen/extra.npy"):
        open_bundle(copied, verify=False)


def test_an_array_of_another_shape_is_refused_even_where_its_sum_is_right(copied):
    def forget_a_user(record: dict) -> None:
        record["n_users"] = 29

    rewrite_manifest(copied, forget_a_user)
    with pytest.raises(BundleError, match=r"user_embeddings.npy is float32 \(30, 8\); expected float32 \(29, 8\)"):
        open_bundle(copied)


def test_a_pickle_in_an_array_file_is_refused_unread(copied):
    np.save(copied / "fold_in.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError, match=r"fold_in.npy cannot be read"):
        open_bundle(copied, verify=False)


def test_a_manifest_cannot_name_files_outside_the_bundle(copied):
    def reach_out(record: dict) -> None:
        record["files"]["../../secret.npy"] = "0" * 64

    rewrite_manifest(copied, reach_out)
    with pytest.raises(BundleError, match=r"lists other files than a bundle of its parts has: ../../secret.npy"):
        open_bundle(copied)


def rewrite_manifest(path: Path, change: Callable[[dict], None]) -> None:
    """Change a manifest as someone would who also knows how to make its digest fit again."""
    record = json.loads((path / "manifest.json").read_bytes())
    change(record)
    record["bundle_id"] = record["bundle_id"][:-8] + digest_of(record)
    (path / "manifest.json").write_bytes(manifest_bytes(record))


def with_text(text: str) -> Callable[[Path], None]:
    return lambda path: (path / "manifest.json").write_text(text)


def better_metrics(path: Path) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"recall@20": 0.2', '"recall@20": 0.9'))


def unknown_key(path: Path) -> None:
    rewrite_manifest(path, lambda record: record.update(colour="blue"))


BAD_MANIFESTS = [
    (lambda path: (path / "manifest.json").unlink(), "has no readable manifest.json"),
    (with_text('{"format": 1, "bundle'), "is no JSON"),
    (with_text("[]"), "has bundle format 'list'; expected 1 or 2"),
    (
        with_text('{"format": 6}'),
        "format 6; expected 1 or 2 or 3 or 4 or 5: a newer trainer wrote it; update what reads it",
    ),
    (with_text('{"format": 1}'), "says bundle 'None'"),
    (better_metrics, "expected them to agree: it was edited"),
    (unknown_key, "colour is no known field"),
]


@pytest.mark.parametrize(("damage", "message"), BAD_MANIFESTS)
def test_a_manifest_that_is_not_as_written_is_refused(copied, damage, message):
    damage(copied)
    with pytest.raises(BundleError, match=message):
        open_bundle(copied, verify=False)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleError, match="expected a bundle folder"):
        open_bundle(tmp_path / "nowhere")


def test_a_bundle_is_opened_from_wherever_it_was_copied(whole, tmp_path):
    moved: Bundle = open_bundle(Path(shutil.copytree(whole, tmp_path / "elsewhere")))
    assert moved.bundle_id == whole.name
