"""How much of its features an embedding keeps, against answers worked out by hand and against the report."""

import numpy as np
import pytest

from trainer import expressiveness as module
from trainer.expressiveness import collapse, collapses, expressiveness, nearest_others, pair_cosines


def vectors(n, width, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_an_item_is_not_its_own_neighbour_even_beside_its_double():
    rows, cosines = nearest_others(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), 2)
    assert rows.tolist() == [[1, 2], [0, 2], [0, 1]]
    np.testing.assert_allclose(cosines, [[1, 0], [1, 0], [0, 0]])


def test_neighbours_are_those_of_a_full_cosine_matrix():
    items = vectors(50, 6)
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    rows, _ = nearest_others(items, 7)
    np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :7])


def test_no_more_neighbours_than_there_are_other_items():
    assert nearest_others(vectors(4, 3), 20)[0].shape == (4, 3)


def test_cosines_of_pairs_by_hand():
    features = np.array([[3, 4], [4, 3], [0, 0]], dtype=np.float16)
    cosines = pair_cosines(features, np.array([[1, 2], [0, 1], [0, 1]]))
    np.testing.assert_allclose(cosines, [[0.96, 0], [0.96, 1], [0, 0]], rtol=1e-5)


def test_equal_embeddings_have_collapsed():
    items = vectors(200, 8)
    found = collapse(items, 3 * items, np.random.default_rng(0))
    assert found.same == pytest.approx(0, abs=1e-6)
    assert found.ratio == pytest.approx(0, abs=1e-6)


def test_independent_embeddings_are_as_far_apart_as_random_items():
    found = collapse(vectors(2000, 16, 1), vectors(2000, 16, 2), np.random.default_rng(0))
    assert found.ratio == pytest.approx(1, abs=0.02)


def test_collapse_by_hand():
    one, other = np.array([[1.0, 0], [0, 1]]), np.array([[1.0, 0], [-1, 0]])
    # Same item: 0 and sqrt 2. Different items: (1,0) to (-1,0) is 2, (0,1) to (1,0) is sqrt 2.
    found = collapse(one, other, np.random.default_rng(0), n_random=200_000)
    assert found.same == pytest.approx(2**0.5 / 2)
    assert found.random == pytest.approx((2 + 2**0.5) / 2, rel=0.01)


def test_a_space_that_is_one_point_has_no_ratio():
    assert collapse(np.ones((5, 3)), np.ones((5, 3)), np.random.default_rng(0)).ratio is None


def test_all_pairs_collapse_as_their_mean_distances_say():
    spaces = {name: vectors(50, 4, seed) for seed, name in enumerate(("id", "text", "image"))}
    found = collapses(spaces, np.random.default_rng(0))
    pairs = [found[name] for name in ("id and text", "id and image", "text and image")]
    assert found["all pairs"].same == pytest.approx(np.mean([pair.same for pair in pairs]))
    assert list(found)[-1] == "all pairs"


def test_a_model_s_figures_are_of_the_items_nearest_to_each_in_the_sum_of_its_parts():
    parts = {"id": vectors(40, 6, 1), "text": vectors(40, 6, 2), "anchor": vectors(40, 6, 3)}
    features = {"text": vectors(40, 5, 4), "image": vectors(40, 7, 5), "multimodal": vectors(40, 5, 6)}
    near = nearest_others(sum(parts.values()), 3)[0]
    figures = expressiveness(parts, features, seed=0)
    assert list(figures) == ["text_cosine", "image_cosine", "positional_collapse"]
    assert figures["text_cosine"] == pytest.approx(pair_cosines(features["text"], near).mean())
    assert figures["image_cosine"] == pytest.approx(pair_cosines(features["image"], near).mean())
    alone = collapse(parts["id"], parts["text"], np.random.default_rng(0))
    assert figures["positional_collapse"] == pytest.approx(alone.ratio)


def test_a_model_has_the_figures_that_its_parts_and_the_data_allow():
    assert list(expressiveness({"id": vectors(9, 4)}, {"text": vectors(9, 2)}, 0)) == ["text_cosine"]
    assert expressiveness({"id": vectors(9, 1)}, {"text": vectors(9, 2)}, 0) == {}  # popularity: no direction
    assert expressiveness({"id": vectors(1, 4)}, {"text": vectors(1, 2)}, 0) == {}
    assert list(expressiveness({"id": vectors(2, 4)}, {"text": vectors(2, 2)}, 0)) == ["text_cosine"]


def test_of_a_large_catalogue_a_sample_is_measured_whose_neighbours_are_sought_among_all(monkeypatch):
    parts = {"id": vectors(300, 4, 1), "text": vectors(300, 4, 2)}
    parts["id"][1], parts["text"][1] = parts["id"][0], parts["text"][0]  # items alike
    whole = expressiveness(parts, {"text": vectors(300, 5)}, 0)
    monkeypatch.setattr(module, "ALL_UP_TO", 100)
    monkeypatch.setattr(module, "SAMPLE", 300)
    assert expressiveness(parts, {"text": vectors(300, 5)}, 0) == pytest.approx(whole, rel=0.05)
    monkeypatch.setattr(module, "SAMPLE", 50)
    drawn = [expressiveness(parts, {"text": vectors(300, 5)}, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
