"""Items that training never saw get their rows from features: in the bundle's own equations, and for any of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import MADE_AT, make_content, make_features, make_living_content
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import Bundle, open_bundle, write_bundle
from index.content_path import LARGEST, ContentPath
from index.errors import InputError

FORMAT_3 = next((Path(__file__).parent / "bundle_of_format_3").iterdir())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    registry = tmp_path_factory.mktemp("registry")
    return open_bundle(write_bundle(registry, make_living_content(), created_at=MADE_AT, factory="Flat"))


@pytest.fixture(scope="module")
def path(bundle: Bundle) -> ContentPath:
    found = ContentPath.of(bundle)
    assert found is not None
    return found


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values)


def test_every_row_follows_the_equations_of_the_page(bundle, path):
    (item,) = make_features(1, seed=7)
    rows, anchor = path.rows([item]), bundle.anchor
    centred = {m: unit(np.array(item[m]) - anchor.centers[m]) for m in ("text", "image")}
    for modality, direction in centred.items():
        np.testing.assert_allclose(rows.parts[modality][0], 1.25 * direction @ anchor.weights[modality], rtol=1e-4)
    np.testing.assert_allclose(rows.parts["anchor"][0], 1.25 * anchor.mean, rtol=1e-6)
    expected = anchor.fold_in_mean + sum(centred[m] @ anchor.fold_in_weights[m] for m in centred)
    np.testing.assert_allclose(rows.fold_in[0], expected, rtol=1e-4)
    np.testing.assert_allclose(rows.neighbours["text"][0], unit(np.array(item["text"])), atol=1e-3)
    projected = unit(np.array(item["image"]) @ bundle.projections["image"])
    np.testing.assert_allclose(rows.neighbours["image"][0], projected, atol=2e-3)
    assert not rows.neighbours["multimodal"].any()


@pytest.mark.parametrize("has_fold_in", [True, False])
def test_a_weight_lengthens_embeddings_and_parts_and_nothing_else(bundle, has_fold_in):
    anchor = bundle.anchor if has_fold_in else replace(bundle.anchor, fold_in_mean=None, fold_in_weights={})
    items = make_features(3, seed=7)
    plain, weighted = (ContentPath(bundle, anchor, weight).rows(items) for weight in (1.0, 2.0))
    np.testing.assert_allclose(weighted.embeddings, 2 * plain.embeddings, rtol=1e-6)
    np.testing.assert_allclose(sum(weighted.parts.values()), weighted.embeddings, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weighted.fold_in, plain.fold_in, rtol=1e-5, atol=1e-6)
    for modality, rows in plain.neighbours.items():
        np.testing.assert_array_equal(weighted.neighbours[modality], rows)


given_modalities = st.lists(st.sampled_from([("text",), ("image",), ("text", "image")]), min_size=1, max_size=6)


@given(given_modalities, st.integers(0, 99))
def test_parts_sum_to_the_embedding_and_many_items_get_to_the_bit_what_each_gets_alone(path, modalities, seed):
    features = make_features(len(modalities), seed=seed)
    items = [{m: one[m] for m in chosen} for one, chosen in zip(features, modalities, strict=True)]
    together = path.rows(items)
    np.testing.assert_allclose(sum(together.parts.values()), together.embeddings, rtol=1e-5, atol=1e-6)
    for place, item in enumerate(items):
        alone = path.rows([item])
        np.testing.assert_array_equal(together.embeddings[place], alone.embeddings[0])
        np.testing.assert_array_equal(together.fold_in[place], alone.fold_in[0])
        np.testing.assert_array_equal(together.neighbours["image"][place], alone.neighbours["image"][0])


def test_what_an_item_lacks_adds_nothing(bundle, path):
    (item,) = make_features(1)
    without = path.rows([{"text": item["text"]}])
    average = path.rows([{"text": item["text"], "image": bundle.anchor.centers["image"].tolist()}])
    assert not without.parts["image"].any()
    np.testing.assert_array_equal(average.embeddings, without.embeddings)


def test_features_of_another_width_or_beyond_all_measure_are_told(path):
    (item,) = make_features(1)
    assert path.widths == {"text": 5, "image": 7, "multimodal": 6}
    assert path.problem(item) is None
    assert path.problem({"text": [0.5] * 4}) == "features.text has 4 numbers; expected 5, as in training"
    assert "beyond 1e+18" in str(path.problem({"text": [10 * LARGEST] * 5}))
    with pytest.raises(InputError, match="has 4 numbers"):
        path.rows([{"text": [0.5] * 4}])
    assert not path.knows({"multimodal": [1.0] * 6})
    with pytest.raises(InputError, match="features of multimodal; expected text or image"):
        path.rows([{"multimodal": [1.0] * 6}])


def test_a_bundle_without_predictions_takes_in_no_items(tmp_path):
    written = write_bundle(tmp_path, make_content(), created_at=MADE_AT, factory="Flat")
    assert ContentPath.of(open_bundle(written)) is None


def test_a_bundle_of_format_3_maps_embeddings_to_fold_in_and_leaves_neighbours_that_it_cannot_make():
    bundle = open_bundle(FORMAT_3)
    path = ContentPath.of(bundle)
    rows = path.rows(make_features(3))
    mapping = np.linalg.lstsq(bundle.item_embeddings, bundle.fold_in[:], rcond=None)[0]
    np.testing.assert_allclose(rows.fold_in, rows.embeddings @ mapping, rtol=0.02, atol=0.02)
    assert not rows.neighbours["text"].any()  # of another width than its features: it was projected


def test_the_arrays_survive_the_disk(bundle):
    content = make_living_content()
    np.testing.assert_array_equal(bundle.projections["image"], content.projections["image"])
    for name in ("fold_in_mean", "shortest"):
        assert np.array_equal(getattr(bundle.anchor, name), getattr(content.anchor, name)), name
    for modality, rows in content.anchor.fold_in_weights.items():
        np.testing.assert_array_equal(bundle.anchor.fold_in_weights[modality], rows)
    assert set(replace(bundle).arrays()) == set(bundle.manifest.files) - {"index/item.faiss"}
