"""The rotation onto the bundle that serves: it is found again, and nothing that is scored changes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from bundles import make_anchor, make_content
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import open_bundle, write_bundle
from index.registry import Registry
from trainer.rotation import nearest_rotation, rotated, rotated_onto

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def orthogonal(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@given(seed=st.integers(0, 1000), d=st.integers(1, 6))
def test_the_rotation_between_two_sets_of_vectors_is_found_again(seed, d):
    vectors = np.random.default_rng(seed).standard_normal((10, d))
    np.testing.assert_allclose(nearest_rotation(vectors, vectors @ orthogonal(d, seed)), orthogonal(d, seed), atol=1e-9)


@pytest.mark.parametrize("own", [True, False])
def test_rotated_content_scores_and_explains_the_same(own):
    content = make_content(anchor=make_anchor(), has_own=own)
    turned = rotated(content, orthogonal(content.item_embeddings.shape[1]))
    assert not np.allclose(turned.item_embeddings, content.item_embeddings)
    for rows in ("item_embeddings", "fold_in"):
        before, after = (getattr(one, rows) @ one.user_embeddings.T for one in (content, turned))
        np.testing.assert_allclose(after, before, atol=1e-4)
    for name, part in content.item_parts.items():
        np.testing.assert_allclose(
            turned.item_parts[name] @ turned.user_embeddings.T, part @ content.user_embeddings.T, atol=1e-4
        )
    for modality, weights in content.anchor.weights.items():
        ours, theirs = weights @ content.item_embeddings.T, turned.anchor.weights[modality] @ turned.item_embeddings.T
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_a_new_bundle_gets_the_axes_of_the_one_that_serves(tmp_path):
    registry, content = Registry(tmp_path), make_content()
    serving = write_bundle(registry.folder, content, created_at=NOW)
    registry.publish(serving.name)
    found = rotated_onto(rotated(content, orthogonal(content.item_embeddings.shape[1])), registry)
    np.testing.assert_allclose(found.item_embeddings, content.item_embeddings, atol=1e-4)
    written = write_bundle(registry.folder, found, created_at=NOW + timedelta(seconds=1))
    np.testing.assert_allclose(open_bundle(written).user_embeddings, content.user_embeddings, atol=1e-4)


@pytest.mark.parametrize("changes", [{"embedding_size": 5}, {"item_ids": [f"other {row}" for row in range(40)]}])
def test_a_bundle_of_another_dimension_or_of_other_items_is_left_as_it_is(tmp_path, changes):
    registry, content = Registry(tmp_path), make_content()
    registry.publish(write_bundle(registry.folder, content, created_at=NOW).name)
    other = make_content(**changes)
    assert rotated_onto(other, registry) is other


def test_where_nothing_serves_yet_nothing_is_rotated(tmp_path):
    content = make_content()
    assert rotated_onto(content, Registry(tmp_path)) is content
