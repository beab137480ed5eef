import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import topics_source

from index.errors import InputError
from trainer.data import NO_TIME, Labels, Recipe, Source, load_dataset
from trainer.prepare import prepare_dataset


@pytest.fixture
def folder(tmp_path):
    prepare_dataset(topics_source(), tmp_path / "topics", Recipe(seed=3))
    return tmp_path / "topics"


def change(folder, **values):
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_dataset_comes_back_as_it_was_prepared(folder):
    data = load_dataset(folder)
    assert (data.name, data.n_users, data.n_items, len(data.interactions)) == ("topics", 60, 48, 600)
    assert data.items["item_id"].to_list() == data.item_ids
    assert data.items.filter(pl.col("item_id") == "item/5")["title"].item() == "thing 5 of topic 1"
    assert {name: array.shape for name, array in data.features.items()} == {
        "text": (48, 12),
        "image": (48, 20),
        "multimodal": (48, 16),
    }


def test_the_parts_are_a_partition_in_the_sizes_of_the_recipe(folder):
    data = load_dataset(folder)
    assert [len(data.split(name)) for name in ("train", "valid", "test")] == [480, 60, 60]  # 8/1/1 of each user's ten
    assert (data.split("test").splits == 2).all()
    assert np.bincount(data.split("valid").user_rows).tolist() == [1] * 60


def test_features_stay_on_disk(folder):
    assert all(isinstance(array, np.memmap) for array in load_dataset(folder).features.values())


def test_one_seed_makes_one_fingerprint_and_another_seed_another(folder, tmp_path):
    for name, seed in (("again", 3), ("other", 4)):
        prepare_dataset(topics_source(), tmp_path / name, Recipe(seed=seed))
    fingerprints = [load_dataset(path).fingerprint for path in (folder, tmp_path / "again", tmp_path / "other")]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_interactions_without_a_time_say_so(tmp_path):
    interactions = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["x", "y"], "timestamp": [5, None]})
    items = pl.DataFrame({"item_id": ["x", "y"]})
    prepare_dataset(Source("timeless", interactions, items), tmp_path / "out", Recipe())
    assert load_dataset(tmp_path / "out").interactions.timestamps.tolist() == [5, NO_TIME]


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a prepared dataset"):
        load_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "not of format 1"),
        ({"surprise": 1}, "not of format 1"),
        ({"n_users": 61}, "expected .*'n_users': 61"),
        ({"features": {"text": 12, "image": 20, "multimodal": 99}}, r"expected \(48, 99\)"),
        ({"features": {"sound": 12}}, "sound.npy is missing"),
        ({"fingerprint": "0"}, "content was changed"),
    ],
)
def test_a_description_that_does_not_fit_the_content_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(InputError, match=message):
        load_dataset(folder)


def test_a_file_that_is_missing_is_named(folder):
    (folder / "users.parquet").unlink()
    with pytest.raises(InputError, match=r"users\.parquet is missing"):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "features/text.npy"])
def test_an_edited_file_is_noticed_and_a_truncated_one_also_without_verifying(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="content was changed"):
        load_dataset(folder)
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset(folder, verify=False)


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """Split at random with the seed 3."""
    folder = tmp_path_factory.mktemp("data") / "topics"
    prepare_dataset(topics_source(), folder, Recipe(seed=3))
    return load_dataset(folder)


labels = st.builds(
    Labels, split=st.sampled_from(["given", "random", "time"]), seed=st.integers(0, 99), validation=st.just("given")
) | st.builds(Labels, split=st.sampled_from(["given", "random"]), seed=st.integers(0, 99), validation=st.just("time"))


@given(labels=labels)
def test_other_labels_are_of_the_same_interactions_and_are_made_again_by_their_description(topics, labels):
    other = topics.with_labels(labels)
    for name in ("user_rows", "item_rows", "timestamps"):
        assert getattr(other.interactions, name) is getattr(topics.interactions, name)
    again = topics.with_labels(other.labels)
    assert again.fingerprint == other.fingerprint
    assert (again.interactions.splits == other.interactions.splits).all()
    assert other.with_split("given") is topics


@given(labels=labels, others=labels)
def test_datasets_have_one_fingerprint_where_they_have_the_same_labels_and_only_there(topics, labels, others):
    one, two = topics.with_labels(labels), topics.with_labels(others)
    assert (one.fingerprint == two.fingerprint) == bool((one.interactions.splits == two.interactions.splits).all())


def test_the_random_split_is_by_default_the_one_that_the_folder_was_prepared_with(topics):
    assert topics.with_split("random") is topics
    assert topics.with_split("random", 4).fingerprint != topics.fingerprint


def test_a_validation_part_by_time_keeps_what_is_held_out_for_test(topics):
    chosen = topics.with_time_validation()
    assert chosen.fingerprint != topics.fingerprint
    for name in ("user_rows", "item_rows"):
        assert (getattr(chosen.split("test"), name) == getattr(topics.split("test"), name)).all()


def test_without_times_there_is_no_split_by_time_and_validation_stays_as_it_is(tmp_path):
    prepare_dataset(replace(topics_source(), interactions=topics_source().interactions.drop("timestamp")),
                    tmp_path / "timeless", Recipe())  # fmt: skip
    timeless = load_dataset(tmp_path / "timeless")
    assert timeless.with_time_validation() is timeless
    with pytest.raises(InputError, match="'time' needs a time for every interaction"):
        timeless.with_split("time")
