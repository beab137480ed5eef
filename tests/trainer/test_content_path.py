"""What a bundle predicts of an item from its features is what training gives an item that no user has."""

from datetime import UTC, datetime

import numpy as np
import pytest
from worlds import topic_of, topics_source

from index.bundle import open_bundle
from index.content_path import ContentPath
from index.registry import Registry
from trainer.config import load_config
from trainer.content_path import LARGEST_RHO
from trainer.data import Recipe, load_dataset
from trainer.export import export_run
from trainer.fit import fit
from trainer.prepare import prepare_dataset
from trainer.run_folder import RunFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SETTINGS = {
    "anchorease": ("model.embedding_size=16",),
    "ease": (),
    "lightgcn": ("model.embedding_size=16", "training.epochs=20", "training.learning_rate=0.01"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Items whose features say their topic, a bundle of each model, and every item by its features alone."""
    root = tmp_path_factory.mktemp("world")
    prepare_dataset(topics_source(n_users=80, n_items=64), root / "data", Recipe(split="random", seed=0))
    dataset = load_dataset(root / "data")
    bundles = {}
    for name, overrides in SETTINGS.items():
        folder = RunFolder(root / name)
        fit(dataset, load_config(name, overrides), folder)
        bundles[name] = open_bundle(export_run(folder, Registry(root / "bundles"), created_at=NOW))
    items = [{m: rows[i].tolist() for m, rows in dataset.features.items()} for i in range(dataset.n_items)]
    return dataset, bundles, {name: ContentPath.of(bundle).rows(items) for name, bundle in bundles.items()}


def test_an_item_without_interactions_gets_its_trained_embedding(world):
    bundle, rows = world[1]["anchorease"], world[2]["anchorease"]
    share = 2 / (2 + bundle.popularity_count[:, None])  # kappa / (kappa + n): 1 where no user had the item
    np.testing.assert_allclose(share * rows.embeddings, bundle.item_parts["anchor"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_items_by_features_alone_are_recommended_to_users_of_their_topic_beside_trained_ones(world, name):
    bundle, rows = world[1][name], world[2][name]
    topics = np.array([topic_of(bundle.item_ids[row]) for row in range(len(bundle.item_ids))])
    users = np.array([topic_of(bundle.user_ids[row]) for row in range(len(bundle.user_ids))])
    both = np.concatenate([bundle.item_embeddings, rows.embeddings])
    best = np.argsort(-(bundle.user_embeddings[:] @ both.T), axis=1)[:, :16]
    assert np.mean(np.tile(topics, 2)[best] == users[:, None]) > 0.9
    assert np.mean(best >= len(topics)) > 0.05


@pytest.mark.parametrize("name", SETTINGS)
def test_a_user_who_had_one_item_by_its_features_is_recommended_items_of_its_topic(world, name):
    bundle, rows = world[1][name], world[2][name]
    topics = np.array([topic_of(bundle.item_ids[row]) for row in range(len(bundle.item_ids))])
    best = np.argsort(-(rows.fold_in @ bundle.item_embeddings.T), axis=1)[:, :8]
    assert np.mean(topics[best] == topics[:, None]) > 0.9


def test_neighbours_by_features_are_those_of_training(world):
    for name, bundle in world[1].items():
        for modality, stored in bundle.neighbours.items():
            np.testing.assert_allclose(world[2][name].neighbours[modality], stored, atol=1e-3)


def test_a_model_without_an_anchor_gets_one_that_moves_no_trained_item(world):
    for name in ("ease", "lightgcn"):
        anchor = world[1][name].manifest.anchor
        assert (anchor.kappa, anchor.fold_in) == (0, True)
        assert 1 <= anchor.rho <= LARGEST_RHO
        assert set(anchor.widths) == {"text", "image"}
        assert "anchor" not in world[1][name].manifest.parts
