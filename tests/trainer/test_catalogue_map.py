"""The trainer's map of a catalogue: near on the map means alike, at any size, and the same each time."""

import numpy as np
import pytest

from trainer import catalogue_map as catalogue_map_module
from trainer.catalogue_map import CLUSTERS, FEWEST, catalogue_map


def topics(n: int, n_topics: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 16) of items of clearly different topics, of any length, and each item's topic."""
    rng = np.random.default_rng(seed)
    topic_of = np.arange(n) % n_topics
    rows = 4 * np.eye(16)[topic_of] + 0.5 * rng.normal(size=(n, 16))
    return (rows * rng.uniform(0.2, 5, size=(n, 1))).astype(np.float32), topic_of


def share_beside_own_topic(positions: np.ndarray, topic_of: np.ndarray) -> float:
    """Of all items, those whose nearest item on the map has the same topic."""
    distances = ((positions[:, None] - positions[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float((topic_of[distances.argmin(axis=1)] == topic_of).mean())


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_map_module, "SAMPLE", 150)


def test_items_of_one_topic_lie_together_and_make_a_cluster():
    embeddings, topic_of = topics(200)
    found = catalogue_map(embeddings, seed=3)
    assert share_beside_own_topic(found.positions, topic_of) > 0.98
    assert found.clusters == CLUSTERS
    mixed = [np.unique(topic_of[found.cluster_of == cluster]) for cluster in range(found.clusters)]
    assert all(len(of_cluster) == 1 for of_cluster in mixed)


def test_items_beyond_the_sample_lie_beside_their_like(small_sample):
    embeddings, topic_of = topics(600)
    found = catalogue_map(embeddings, seed=3)
    assert found.method == "t-SNE of 150 items, others beside their nearest"
    assert share_beside_own_topic(found.positions, topic_of) > 0.98


def test_the_same_embeddings_and_seed_give_the_same_map(small_sample):
    embeddings, _ = topics(200)
    one, same, other = catalogue_map(embeddings, 3), catalogue_map(embeddings, 3), catalogue_map(embeddings, 4)
    np.testing.assert_array_equal(one.positions, same.positions)
    np.testing.assert_array_equal(one.cluster_of, same.cluster_of)
    assert not np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize("embeddings", [topics(n)[0] for n in (1, 2, FEWEST - 1)] + [np.zeros((120, 1), np.float32)])
def test_the_smallest_and_the_dullest_catalogues_have_maps(embeddings):
    found = catalogue_map(embeddings, seed=0)
    assert found.positions.shape == (len(embeddings), 2)
    assert ((found.positions >= 0) & (found.positions <= 1)).all()
    assert found.cluster_of.max() < found.clusters


def test_clusters_are_numbered_from_the_largest():
    sizes = np.bincount(catalogue_map(topics(200)[0], seed=0).cluster_of)
    assert (np.diff(sizes) <= 0).all()
