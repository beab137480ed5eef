"""Lists, projections and codes are right for inner products, however uneven the norms and wherever the mean."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from index.benchmarks.clustered_vectors import clustered_vectors
from index.engine import engine_of
from index.errors import InputError
from index.item_index import ItemIndex, exact_search
from index.ranking import NO_ROWS
from index.recall import measured_recall

DATA = clustered_vectors(20_000, 16, n_queries=100)


def recall(index: ItemIndex, queries: np.ndarray = DATA.queries) -> float:
    return measured_recall(index, index.vectors, queries, lambda _: NO_ROWS, at=(20,))["recall@20"]


def skewed(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Items as of matrix factorisation, nine in ten short and few long, in no clusters; and queries."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, 16)) * rng.lognormal(-1.5, 1, size=(n, 1))
    return vectors.astype(np.float32), rng.normal(size=(60, 16)).astype(np.float32)


@pytest.mark.parametrize(("vectors", "queries", "nprobe"), [(*DATA[:2], 8), (*skewed(10_000), 32)])
def test_lists_find_more_than_those_of_faiss_for_the_same_number_probed(vectors, queries, nprobe):
    theirs = faiss.index_factory(16, "IVF128,SQ8", faiss.METRIC_INNER_PRODUCT)
    theirs.train(vectors)
    theirs.add(vectors)
    theirs.nprobe = nprobe
    ours = ItemIndex.build(vectors, "IVF128,SQ8", nprobe=nprobe)
    indexes = (ours, ItemIndex(engine_of(theirs), ours.vectors, ours.norm, ours.hidden))
    found, found_by_theirs = (recall(one, queries) for one in indexes)
    assert found > found_by_theirs + 0.02


def test_a_list_of_few_long_vectors_is_probed_before_its_direction_alone_would_be():
    """Directions e0 and e1, both at hand; the long vector is less alike, and scores most."""
    rng = np.random.default_rng(0)
    vectors = (np.repeat(np.eye(2, 8, dtype=np.float32), 100, axis=0) + rng.normal(0, 0.01, (200, 8))).astype("f4")
    vectors[150] *= 10
    query = np.array([1, 0.5, *[0] * 6], np.float32)
    rows, _ = ItemIndex.build(vectors, "IVF2,Flat", nprobe=1).search(query, 1)
    assert rows.tolist() == [[150]]


def test_lists_are_probed_alike_whatever_the_length_of_the_query():
    vectors, queries = skewed(5_000)
    index = ItemIndex.build(vectors, "IVF64,Flat", nprobe=8)
    rows, scores = index.search(queries, 10)
    assert index.search(queries * 1_000, 10)[0].tolist() == rows.tolist()
    np.testing.assert_allclose(index.search(queries / 1_000, 10)[1] * 1_000, scores, rtol=1e-5)
    assert (index.search(np.zeros(16, np.float32), 10)[1] == 0).all()


@pytest.mark.parametrize("factory", ["PCA4,Flat", "PCA4,SQfp16", "PCA4,IVF4,Flat"])
def test_a_projection_keeps_inner_products_of_vectors_far_from_the_origin(factory):
    """In four of twelve dimensions, so that nothing is lost; FAISS's PCA would subtract the mean."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(12, 4)))[0]
    vectors = ((rng.normal(size=(1_000, 4)) + np.array([9, 0, 0, 0])) @ basis.T).astype(np.float32)
    queries = rng.normal(size=(50, 12)).astype(np.float32)
    index = ItemIndex.build(vectors, factory, nprobe=4, rerank=1)
    for found, expected in zip(index.search(queries, 10), exact_search(vectors, queries, 10), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_vectors_in_a_file_are_added_in_chunks_and_progress_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("index.building._CHUNK", 7_000)
    vectors = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=DATA.vectors.shape)
    vectors[:] = DATA.vectors
    told: list[int] = []
    index = ItemIndex.build(vectors, "IVF128,SQ8", nprobe=64, progress=told.append)
    assert told == [7_000, 14_000, 20_000]
    assert recall(index) > 0.99


def test_training_on_a_sample_costs_little_recall(monkeypatch):
    whole = recall(ItemIndex.build(DATA.vectors, "IVF128,SQ8", nprobe=8))
    monkeypatch.setattr("index.building._SAMPLE", 3_000)
    assert recall(ItemIndex.build(DATA.vectors, "IVF128,SQ8", nprobe=8)) > whole - 0.02


@pytest.mark.parametrize("factory", ["SQ8", "IVF4,SQ8", "HNSW16_SQ8", "PCA4,SQ8"])
def test_codes_trained_on_a_sample_hold_the_longest_vectors_too(monkeypatch, factory):
    """They are the results: cut off at the sample's range, they would all look alike."""
    monkeypatch.setattr("index.building._SAMPLE", 100)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 4)).astype(np.float32)
    vectors[:80] = 20 + 10 * rng.random((80, 4))
    index = ItemIndex.build(vectors, factory, nprobe=4, ef_search=500, rerank=1)
    queries = np.abs(rng.normal(size=(20, 4))).astype(np.float32)
    assert measured_recall(index, vectors, queries, lambda _: NO_ROWS, at=(10,))["recall@10"] > 0.9


@pytest.mark.parametrize("factory", ["PCA17,Flat", "IVF20001,Flat", "PQ3x4fs", "Flatt", ""])
def test_a_factory_that_does_not_fit_is_refused_with_the_size_of_the_vectors(factory):
    with pytest.raises(InputError, match=rf"index factory '{factory}' does not fit 20000 vectors of 16: ."):
        ItemIndex.build(DATA.vectors, factory)


def test_equal_builds_give_equal_files(tmp_path: Path):
    for name in ("a", "b"):
        ItemIndex.build(DATA.vectors, "PCA8,IVF64,SQ8").write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
