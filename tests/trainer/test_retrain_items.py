"""Retraining with stored items: what was put since the last training is learned, recommended and described."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from exported_items import deleted, stored, write_items
from worlds import topics_dataset

from index.bundle import open_bundle
from index.errors import InputError
from index.registry import Registry
from trainer.config import load_config
from trainer.retrain import RetrainOptions, retrain

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = ("model.embedding_size=16", "training.epochs=12", "training.batch_size=64", "training.learning_rate=0.02",
         "evaluation.bootstrap=0")  # fmt: skip
FANS = [f"user {user}" for user in range(0, 24, 4)]  # they like topic 0


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("old") / "data")


def new_item(old, **changes):
    features = {name: table[0].tolist() for name, table in old.features.items()}  # of topic 0
    words = {"title": "Lamp", "attributes": {"shelf": 3, "price": 9.5}, "image": "lamps/1.jpg", "features": features}
    return stored("lamp", **words | changes)


def order(old, folder, *stored_rows, likes=()):
    columns = {"event_id": pl.String, "user_id": pl.String, "item_id": pl.String, "kind": pl.String,
               "timestamp": pl.Float64, "position": pl.Int64}  # fmt: skip
    rows = [(f"e{place}", *pair, "like", 1.7e9, place) for place, pair in enumerate(likes, start=1)]
    events = pl.DataFrame(rows, columns, orient="row")
    events.write_parquet(folder / "events.parquet")
    items = write_items(folder / "items.parquet", *stored_rows)
    config = load_config("lightgcn", QUICK)
    return RetrainOptions(old.path, folder / "events.parquet", Registry(folder / "bundles"), config, items=items)


def likes(*others):
    return [*((user, "lamp") for user in FANS), *others]


def test_the_new_bundle_recommends_a_new_item_describes_it_and_lacks_a_deleted_one(old, tmp_path):
    asked = order(old, tmp_path, new_item(old), deleted("item/8"), likes=likes(("user 4", "item/8")))
    done = retrain(asked, tmp_path / "out", now=NOW)
    bundle = open_bundle(tmp_path / "bundles" / done.bundle)
    assert bundle.item_ids.row("item/8") is None
    lamp = bundle.item_ids.row("lamp")
    assert bundle.item(lamp) == {
        "title": "Lamp",
        "category": "",
        "attributes": {"shelf": 3, "price": 9.5},
        "image": "lamps/1.jpg",
    }
    assert bundle.manifest.attribute_types == {"shelf": "number", "price": "number"}
    fan, other = bundle.user_ids.row("user 28"), bundle.user_ids.row("user 1")  # of topic 0, and of topic 1
    scores = bundle.user_embeddings[np.array([fan, other])] @ bundle.item_embeddings[:].T
    unseen = np.setdiff1d(np.arange(len(bundle.item_ids)), bundle.seen(fan))
    place = int((scores[0, unseen] > scores[0, lamp]).sum())
    assert place < 5
    assert int((scores[1] > scores[1, lamp]).sum()) >= 10
    assert done.counts["new_items"] == done.counts["deleted_items"] == 1


def test_the_same_call_ends_in_the_same_bundle_and_other_items_or_pictures_are_refused(old, tmp_path):
    asked = order(old, tmp_path, new_item(old), likes=likes())
    first = retrain(asked, tmp_path / "out", now=NOW)
    assert retrain(asked, tmp_path / "out", now=datetime.now(UTC)) == first
    (tmp_path / "again").mkdir()
    again = replace(asked, registry=Registry(tmp_path / "again" / "bundles"))
    assert retrain(again, tmp_path / "again" / "out", now=NOW).bundle == first.bundle
    with pytest.raises(InputError, match="started with another images"):
        retrain(replace(asked, images=tmp_path), tmp_path / "out", now=NOW)
    with pytest.raises(InputError, match="started with another items"):
        retrain(replace(asked, items=None), tmp_path / "out", now=NOW)
    with pytest.raises(InputError, match="started with another items"):
        retrain(order(old, tmp_path, new_item(old, title="Lantern"), likes=likes()), tmp_path / "out", now=NOW)


def test_items_that_cannot_be_read_leave_neither_data_nor_a_bundle(old, tmp_path):
    asked = order(old, tmp_path, new_item(old, features={"text": [1.0]}), likes=likes())
    with pytest.raises(InputError, match="item 'lamp' has 1 numbers in features_text; expected 12"):
        retrain(asked, tmp_path / "out", now=NOW)
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"retrain.json"}
    assert not (tmp_path / "bundles").exists()
    with pytest.raises(InputError, match="no such file of items"):
        retrain(replace(asked, items=tmp_path / "gone.parquet"), tmp_path / "other", now=NOW)
