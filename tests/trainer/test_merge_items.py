"""A data set and stored items in, a data set with them out: rows, words, pictures, features, attributes."""

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from exported_items import deleted, stored, write_items
from PIL import Image
from worlds import topics_dataset

from index.errors import InputError
from trainer.data import Recipe, Source, load_dataset, read_info
from trainer.datasets.encoding import EncodingOptions, feature_steps
from trainer.datasets.event_log import UserFeedback
from trainer.datasets.stored_items import read_stored_items
from trainer.encoders import fuse, text_encoder
from trainer.merge import MergeOptions, merge_feedback
from trainer.merge_items import merge_items
from trainer.prepare import prepare_dataset

NOW = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp())


def feedback(*likes):
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "liked": pl.Boolean}
    pairs = pl.DataFrame([(user, item, NOW, True) for user, item in likes], schema, orient="row")
    return UserFeedback(pairs, {}, len(likes))


def merged(old, folder, *rows, likes=(), images=None):
    """The data set of old data, these stored items and these likes."""
    items = merge_items(old, read_stored_items(write_items(folder / "items.parquet", *rows)), images, folder / "cache")
    merge_feedback(old, feedback(*likes), MergeOptions(valid_share=0.0), folder / "new", items=items)
    return load_dataset(folder / "new")


def row(dataset, item_id):
    return dataset.items.row(dataset.item_ids.index(item_id), named=True)


def vector(dataset, modality, item_id):
    return dataset.features[modality][dataset.item_ids.index(item_id)]


def pairs(dataset):
    rows = dataset.interactions
    return {
        (dataset.user_ids[user], dataset.item_ids[item])
        for user, item in zip(rows.user_rows, rows.item_rows, strict=True)
    }


# Data whose features were given, so that no encoder can make more


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("old") / "data")


def test_a_new_item_is_a_row_with_its_words_and_given_features_and_events_on_it_are_interactions(old, tmp_path):
    features = {name: old.features[name][5].tolist() for name in old.features}
    new = stored("new", title="Lamp", text="A warm light.", categories=["lamp", "light"],
                 attributes={"shelf": 3, "price": 9.5}, features=features)  # fmt: skip
    data = merged(old, tmp_path, new, likes=[("user 0", "new"), ("stranger", "new")])
    assert set(data.item_ids) == {*old.item_ids, "new"}
    assert pairs(data) == pairs(old) | {("user 0", "new"), ("stranger", "new")}
    described = row(data, "new")
    attributes = json.loads(described.pop("attributes"))
    assert described == {"item_id": "new", "title": "Lamp", "category": "lamp", "text": "A warm light.", "image": ""}
    assert attributes == {"shelf": 3, "price": 9.5, "categories": ["lamp", "light"]}
    for name in old.features:
        np.testing.assert_array_equal(vector(data, name, "new"), np.float32(features[name]))
        for item_id in old.item_ids:
            np.testing.assert_array_equal(vector(data, name, item_id), vector(old, name, item_id))
    counts = read_info(data.path).counts
    assert (counts["new_items"], counts["changed_items"], counts["deleted_items"]) == (1, 0, 0)
    assert counts["event_pairs_of_unknown_items_skipped"] == 0


def test_without_features_a_new_item_gets_the_mean_and_is_named(old, tmp_path):
    data = merged(old, tmp_path, stored("new", title="Lamp"))
    for name, features in old.features.items():
        np.testing.assert_allclose(vector(data, name, "new"), features.mean(axis=0), atol=1e-6)
    told = " ".join(read_info(data.path).notes)
    assert "no new text features for 1 items: dataset.json names no encoder of them" in told
    assert "no new multimodal features for 1 items: they are neither given nor made of others; 'new'" in told


def test_a_changed_item_has_its_new_words_and_attributes_and_keeps_features_that_nothing_can_make(old, tmp_path):
    changed = stored("item/3", title="Renamed", categories=["thing"], attributes={"shelf": 1, "sale": True})
    data = merged(old, tmp_path, changed, stored("item/4", title="thing 4 of topic 0", categories=["topic 0"]))
    assert row(data, "item/3")["title"] == row(data, "item/3")["text"] == "Renamed"
    assert json.loads(row(data, "item/3")["attributes"]) == {"shelf": 1, "sale": True}
    for name in old.features:
        np.testing.assert_array_equal(vector(data, name, "item/3"), vector(old, name, "item/3"))
    assert pairs(data) == pairs(old)
    assert read_info(data.path).counts["changed_items"] == 2  # the attributes of the other are gone


def test_a_deleted_item_leaves_with_its_interactions_and_an_unavailable_one_stays(old, tmp_path):
    rows = [deleted("item/3"), deleted("unheard of"), stored("item/4", title="x", available=False)]
    data = merged(old, tmp_path, *rows, likes=[("user 0", "item/3"), ("user 1", "item/4"), ("user 0", "unheard of")])
    assert set(data.item_ids) == set(old.item_ids) - {"item/3"}
    assert pairs(data) == {pair for pair in pairs(old) if pair[1] != "item/3"} | {("user 1", "item/4")}
    counts = read_info(data.path).counts
    assert counts["deleted_items"] == 1
    assert counts["interactions_of_deleted_items_dropped"] == len(pairs(old)) - len(pairs(data)) + 1
    assert counts["event_pairs_of_unknown_items_skipped"] == 2


def test_types_stay_and_a_value_of_another_type_is_left_out_and_named(tmp_path):
    source = Source(
        "shop",
        pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"]}),
        pl.DataFrame({"item_id": ["a", "b"], "attributes": ['{"size": "38", "price": 1}', "{}"]}),
        attribute_types={"size": "string", "price": "number"},
    )
    prepare_dataset(source, tmp_path / "old", Recipe())
    new = stored("c", attributes={"size": 39, "price": 2.5, "new": True})
    data = merged(load_dataset(tmp_path / "old"), tmp_path, new)
    assert data.attribute_types == {"size": "string", "price": "number", "new": "boolean"}
    assert json.loads(row(data, "c")["attributes"]) == {"price": 2.5, "new": True}
    note = read_info(data.path).notes[0]
    assert "1 attribute values of another type than the data's were left out; first size of item 'c': '39'" in note


def test_the_types_of_a_folder_that_records_none_are_those_of_its_values(old, tmp_path):
    assert old.attribute_types == {}
    data = merged(old, tmp_path, stored("new", attributes={"shelf": "three", "sale": True}))
    assert data.attribute_types == {"shelf": "number", "sale": "boolean"}
    assert json.loads(row(data, "new")["attributes"]) == {"sale": True}


def test_features_of_another_width_are_refused_and_those_that_no_model_reads_are_told(old, tmp_path):
    with pytest.raises(InputError, match="item 'new' has 1 numbers in features_image; expected 20"):
        merged(old, tmp_path, stored("new", features={"image": [1.0]}))
    assert not (tmp_path / "new").exists()
    only_text = topics_dataset(tmp_path / "text", modalities=("text",))
    data = merged(only_text, tmp_path, stored("new", features={"image": [1.0]}))
    assert "image features are not used, because the data have none" in " ".join(read_info(data.path).notes)


# Data that `prepare` encoded


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Eight mugs with drawn pictures, texts and features of each kind."""
    folder = tmp_path_factory.mktemp("encoded")
    for item in range(9):
        Image.new("RGB", (32, 32), (25 * item, 90, 200 - 20 * item)).save(folder / f"{item}.png")
    items = pl.DataFrame(
        {
            "item_id": [f"m{item}" for item in range(8)],
            "title": [f"Mug {item}" for item in range(8)],
            "text": [f"Mug {item}. It holds {item} cups." for item in range(8)],
            "image": [str(folder / f"{item}.png") for item in range(8)],
        }
    )
    users = pl.DataFrame({"user_id": ["u", "u", "v", "v"], "item_id": ["m0", "m1", "m1", "m2"]})
    options = {"fused": "auto", "text_encoder": "minilm", "image_encoder": "efficientnet-lite0"}
    steps = feature_steps(EncodingOptions(folder / ".feature-cache"))
    prepare_dataset(Source("mugs", users, items, options=options), folder / "data", Recipe(), feature_steps=steps)
    return load_dataset(folder / "data")


def test_new_and_changed_words_and_pictures_are_encoded_as_the_data_were(encoded, tmp_path):
    pictures = encoded.path.parent
    data = merged(
        encoded,
        tmp_path,
        stored("new", title="Bowl", image="8.png"),
        stored("m1", title="Mug 1", text="Now of glass.", image="1.png"),
        stored("m2", title="Mug 2", image=str(pictures / "8.png")),
        images=pictures,
    )
    text = text_encoder("minilm", "cpu").encode(["Bowl", "Now of glass."])
    np.testing.assert_allclose(vector(data, "text", "new"), text[0], atol=1e-5)
    np.testing.assert_allclose(vector(data, "text", "m1"), text[1], atol=1e-5)
    np.testing.assert_array_equal(vector(data, "image", "m1"), vector(encoded, "image", "m1"))
    np.testing.assert_array_equal(
        vector(data, "text", "m2"), vector(encoded, "text", "m2")
    )  # the same title: its words
    np.testing.assert_allclose(vector(data, "image", "m2"), vector(data, "image", "new"), atol=1e-5)
    assert row(data, "m2")["text"] == "Mug 2. It holds 2 cups."
    assert row(data, "new")["image"] == row(data, "m2")["image"] == str(pictures / "8.png")
    np.testing.assert_allclose(
        data.features["multimodal"], fuse(data.features["text"], data.features["image"]), atol=1e-6
    )
    counts = read_info(data.path).counts
    assert (counts["text_features_encoded"], counts["image_features_encoded"]) == (2, 2)
    assert data.encoders == encoded.encoders


def test_a_picture_that_is_not_here_is_named_and_costs_a_trained_item_no_features(encoded, tmp_path):
    (tmp_path / "pictures").mkdir()
    rows = [
        stored("m3", title="Mug 3", image="https://shop.example/3.png"),
        stored("m4", title="Mug 4", image="4.png"),  # as the bundle names it
        stored("m5", title="Mug 5", image="../5.png"),  # out of the folder
        stored("m6", title="Mug 6"),  # has none any more
        stored("new", title="Bowl", image="gone.png"),
    ]
    data = merged(encoded, tmp_path, *rows, images=tmp_path / "pictures")
    for item_id in ("m3", "m4", "m5"):
        np.testing.assert_array_equal(vector(data, "image", item_id), vector(encoded, "image", item_id))
    others = [vector(data, "image", item_id) for item_id in data.item_ids if item_id not in ("m6", "new")]
    for item_id in ("m6", "new"):
        np.testing.assert_allclose(vector(data, "image", item_id), np.mean(others, axis=0), atol=1e-4)
    assert row(data, "m3")["image"] == "https://shop.example/3.png"
    assert row(data, "m4")["image"] == row(encoded, "m4")["image"]
    info = read_info(data.path)
    assert info.counts["pictures_not_found"] == 3
    told = " ".join(info.notes)
    assert "no new image features for 3 items: what they name is no file that can be read here" in told
    assert all(item_id in told for item_id in ("'m3'", "'m5'", "'new'"))


def test_a_picture_at_a_url_counts_by_the_features_of_the_service_if_its_encoder_is_that_of_the_data(encoded, tmp_path):
    made_by, row_of = encoded.encoders["image"], vector(encoded, "image", "m1").tolist()
    same, url = f"{made_by.name} {made_by.version}", "https://shop.example/9.png"
    rows = [
        stored("new", title="Bowl", image=url, encoded_image=row_of, image_encoder=same),
        stored("m3", title="Mug 3", image=url, encoded_image=row_of, image_encoder=same),
        stored("other", title="Cup", image=url, encoded_image=row_of, image_encoder=f"{made_by.name} another"),
        stored("narrow", title="Can", image=url, encoded_image=[1.0], image_encoder=same),
    ]
    data = merged(encoded, tmp_path, *rows)
    for item_id in ("new", "m3"):
        np.testing.assert_array_equal(vector(data, "image", item_id), np.float32(row_of))
    counts = read_info(data.path).counts
    assert counts["image_features_encoded_by_the_service"] == 2
    assert counts["items_without_new_image_features"] == counts["items_with_the_mean_image_vector"] == 2


def test_where_nothing_changes_all_features_are_those_of_before(encoded, tmp_path):
    same = encoded.items.row(0, named=True)
    data = merged(encoded, tmp_path, stored("m0", title=same["title"], text=same["text"], image="0.png"))
    for name in encoded.features:
        for item_id in encoded.item_ids:
            np.testing.assert_array_equal(vector(data, name, item_id), vector(encoded, name, item_id))
    assert data.items.sort("item_id").equals(encoded.items.sort("item_id"))


def test_the_same_items_merged_again_into_the_merged_data_change_nothing(encoded, tmp_path):
    rows = [
        stored("new", title="Bowl", image=str(encoded.path.parent / "8.png"), attributes={"price": 3}),
        stored("m1", title="Cup", categories=["cup", "glass"]),
        stored("m3", title="Mug 3", image="https://shop.example/3.png"),
        deleted("m7"),
    ]
    once = merged(encoded, tmp_path, *rows)
    (tmp_path / "again").mkdir()
    again = merged(once, tmp_path / "again", *rows)
    assert again.items.sort("item_id").equals(once.items.sort("item_id"))
    assert again.attribute_types == once.attribute_types == {"price": "number", "categories": "list"}
    assert pairs(again) == pairs(once)
    for name in once.features:
        for item_id in once.item_ids:
            np.testing.assert_array_equal(vector(again, name, item_id), vector(once, name, item_id))
    counts = read_info(again.path).counts
    assert (counts["new_items"], counts["changed_items"], counts["deleted_items"]) == (0, 0, 0)


def test_another_version_of_an_encoder_makes_nothing_and_says_so(encoded, tmp_path):
    copy = shutil.copytree(encoded.path, tmp_path / "copy")
    info = json.loads((copy / "dataset.json").read_text())
    for made_by in info["encoders"].values():
        made_by["version"] = "another"
    (copy / "dataset.json").write_text(json.dumps(info))
    data = merged(load_dataset(copy), tmp_path, stored("new", title="Bowl"))
    assert "minilm of version another made the others, and " in " ".join(read_info(data.path).notes)
