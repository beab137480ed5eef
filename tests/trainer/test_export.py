"""From a trained run to a bundle: its laws hold on trained models, and its rows mean what they say."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from worlds import topic_of, topics_dataset

from index import neighbour_rows
from index.bundle import open_bundle
from index.errors import InputError
from index.registry import Registry
from trainer.config import load_config
from trainer.export import compact, export_run, popularity, projection_of
from trainer.fit import fit
from trainer.histories import Histories
from trainer.ranking_metrics import Truth, ranking_metrics
from trainer.run_folder import RunFolder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OVERRIDES = ("model.embedding_size=16", "training.epochs=30", "training.batch_size=128", "training.learning_rate=0.01")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data set, and a trained and exported bundle of it for each model."""
    root = tmp_path_factory.mktemp("world")
    dataset = topics_dataset(root / "data")
    bundles = {}
    for name in ("lightgcn", "anchorrec"):
        folder = RunFolder(root / name)
        fit(
            dataset,
            load_config(name, (*OVERRIDES, "model.l2_weight=0.01") if name == "anchorrec" else OVERRIDES),
            folder,
        )
        bundles[name] = open_bundle(export_run(folder, Registry(root / "bundles"), created_at=NOW))
    return dataset, bundles, root


@pytest.mark.parametrize("name", ["lightgcn", "anchorrec"])
def test_the_parts_of_a_trained_model_sum_to_its_item_embeddings(world, name):
    bundle = world[1][name]
    np.testing.assert_allclose(sum(bundle.item_parts.values()), bundle.item_embeddings, atol=1e-5)


@pytest.mark.parametrize("name", ["lightgcn", "anchorrec"])
def test_fold_in_gives_back_every_trained_user_embedding(world, name):
    bundle = world[1][name]
    for user in range(len(bundle.user_ids)):
        seen = bundle.seen(user)
        folded = bundle.user_own[user] + bundle.fold_in[seen].sum(axis=0) / np.sqrt(len(seen))
        difference = np.linalg.norm(folded - bundle.user_embeddings[user])
        assert difference <= 1e-5 * np.linalg.norm(bundle.user_embeddings[user])


def test_the_exported_vectors_give_the_test_figures_of_the_run(world):
    dataset, bundles, root = world
    bundle, test = bundles["anchorrec"], dataset.split("test")
    truth = Truth.of(test.user_rows, test.item_rows, dataset.n_items)
    rows, _ = bundle.index().search(
        bundle.user_embeddings[truth.users], 20, exclude=[bundle.seen(user) for user in truth.users]
    )
    metrics = ranking_metrics(rows, truth, (20,))
    assert metrics["recall@20"] == pytest.approx(RunFolder(root / "anchorrec").result().test["recall@20"], abs=1e-9)


def test_a_user_is_recommended_items_of_the_topic_that_the_user_likes(world):
    bundle = world[1]["anchorrec"]
    hits = []
    for user in range(len(bundle.user_ids)):
        rows, _ = bundle.index().search(bundle.user_embeddings[user], 2, exclude=bundle.seen(user))
        hits += [topic_of(bundle.item_ids[row]) == topic_of(bundle.user_ids[user]) for row in rows.ravel()]
    assert np.mean(hits) > 0.9


def test_seen_holds_the_training_items_of_each_user_oldest_first(world):
    dataset, bundles, _ = world
    times = {
        (user, item): time
        for user, item, time in pl.read_parquet(dataset.path / "interactions.parquet")
        .filter(pl.col("split") == 0)
        .select("user_row", "item_row", "timestamp")
        .iter_rows()
    }
    for user in range(dataset.n_users):
        seen = bundles["lightgcn"].seen(user)
        stamps = [times[user, int(item)] for item in seen]
        assert stamps == sorted(stamps)
    assert sum(len(bundles["lightgcn"].seen(user)) for user in range(dataset.n_users)) == len(times)


def test_the_manifest_says_what_was_trained_on_what_and_how_well(world):
    dataset, bundles, root = world
    manifest = bundles["anchorrec"].manifest
    assert manifest.model == "anchorrec"
    assert manifest.data_fingerprint == dataset.fingerprint
    assert manifest.config["model"]["l2_weight"] == 0.01
    assert manifest.metrics["test"] == RunFolder(root / "anchorrec").result().test
    assert manifest.index.factory == "Flat"
    assert set(manifest.parts) == {"id", "multimodal", "text", "image", "anchor"}


def test_neighbours_keep_the_cosines_of_the_features(world):
    dataset, bundles, _ = world
    for name, features in dataset.features.items():
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        kept = bundles["anchorrec"].neighbours[name].astype(np.float32)
        np.testing.assert_allclose(kept @ kept.T, unit @ unit.T, atol=3e-3)


def test_a_bundle_has_a_map_unless_it_is_left_out(world):
    _, bundles, root = world
    run = RunFolder(root / "lightgcn")
    assert len(bundles["lightgcn"].map.positions) == len(bundles["lightgcn"].item_ids)
    assert open_bundle(export_run(run, Registry(root / "mapless"), created_at=NOW, with_map=False)).map is None


def test_wide_features_are_compacted_with_little_loss():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 40)) @ rng.normal(size=(40, 700)) + 0.05 * rng.normal(size=(400, 700))
    kept = compact(features, projection_of(features)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert kept.shape == (400, 256)
    assert np.abs(kept @ kept.T - unit @ unit.T).max() < 0.01


def test_features_read_some_rows_at_a_time_are_compacted_alike(monkeypatch):
    features = np.random.default_rng(0).normal(size=(90, 300)).astype(np.float16)
    for width in (300, 40):
        rows = features[:, :width]
        projection = projection_of(rows) if width > 256 else None
        whole = compact(rows, projection).astype(np.float32)
        monkeypatch.setattr(neighbour_rows, "_ROWS_AT_ONCE", 16)
        projection = projection_of(rows) if width > 256 else None
        parts = compact(rows, projection).astype(np.float32)
        monkeypatch.undo()
        np.testing.assert_allclose(parts @ parts.T, whole @ whole.T, atol=3e-3)


def test_an_interaction_of_one_half_life_ago_counts_half_in_the_trend(tmp_path):
    dataset = topics_dataset(tmp_path / "data")
    train = dataset.split("train")
    count, trend = popularity(dataset, half_life_days=30.0)
    newest = train.timestamps.max()
    expected = np.zeros(dataset.n_items)
    np.add.at(expected, train.item_rows, 0.5 ** ((newest - train.timestamps) / (30 * 86_400)))
    np.testing.assert_allclose(trend, expected, rtol=1e-5)
    assert count.sum() == len(train.item_rows)


def test_seen_offsets_have_a_place_for_every_user(tmp_path):
    dataset = topics_dataset(tmp_path / "data")
    seen = Histories.of(dataset.split("train"), dataset.n_users, dataset.n_items)
    assert len(seen.offsets) == dataset.n_users + 1
    assert seen.offsets[-1] == len(seen.items)


def test_an_unfinished_run_is_not_exported(world, tmp_path):
    dataset, _, root = world
    RunFolder(tmp_path / "begun").claim(load_config("bpr"), dataset)
    with pytest.raises(InputError, match="not finished"):
        export_run(RunFolder(tmp_path / "begun"), Registry(root / "bundles"), created_at=NOW)


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"not finished"):
        export_run(RunFolder(tmp_path), Registry(tmp_path / "bundles"), created_at=NOW)


def test_a_run_whose_data_have_changed_since_is_refused(tmp_path):
    dataset = topics_dataset(tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    fit(dataset, load_config("popularity"), folder)
    topics = tmp_path / "changed"
    topics_dataset(topics, seed=9)
    for file in topics.rglob("*"):
        if file.is_file():
            (tmp_path / "data" / file.relative_to(topics)).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="has changed since the run"):
        export_run(folder, Registry(tmp_path / "bundles"), created_at=NOW)
