import json
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.errors import InputError
from trainer.data import EncoderName, Recipe, Source, load_dataset
from trainer.prepare import MadeFeatures, prepare_dataset

EVERYTHING = Recipe(split="given")
STRANGE_IDS = ["a/b/../c", "two words", "\N{PARTY POPPER}\N{ZERO WIDTH JOINER}", "x" * 10_000, "per%20cent", "007", "7"]


def source(*pairs, items=(), features=None, **fields):
    """Pairs (user, item) in this order, all for training unless a third value labels them."""
    rows = [(*pair, 0)[:3] for pair in pairs]
    return Source(
        name="small",
        interactions=pl.DataFrame(rows, schema=["user_id", "item_id", "split"], orient="row"),
        items=pl.DataFrame({"item_id": list(items)}, schema={"item_id": pl.String}),
        features=features or {},
        **fields,
    )


def prepared(tmp_path, source, recipe=EVERYTHING, **options):
    info = prepare_dataset(source, tmp_path / "out", recipe, **options)
    return info, load_dataset(tmp_path / "out")


def test_users_and_items_are_numbered_by_first_appearance_and_cold_items_come_last(tmp_path):
    info, data = prepared(tmp_path, source(("v", "y"), ("u", "x"), ("v", "x"), items=["cold", "x", "y"]))
    assert data.user_ids == ["v", "u"]
    assert data.item_ids == ["y", "x", "cold"]
    assert data.interactions.user_rows.tolist() == [0, 1, 0]
    assert data.interactions.item_rows.tolist() == [0, 1, 1]
    assert info.counts["cold_items"] == info.counts["items_without_training_interaction"] == 1


def test_rows_that_the_source_fixes_are_kept(tmp_path):
    _, data = prepared(tmp_path, source(("v", "y"), items=["x", "y"], user_ids=["u", "v"]))
    assert (data.user_ids, data.item_ids) == (["u", "v"], ["x", "y"])
    assert (data.interactions.user_rows.tolist(), data.interactions.item_rows.tolist()) == ([1], [1])


def test_features_follow_their_items_and_unknown_items_get_the_mean(tmp_path):
    features = {"text": np.array([[1, 0], [0, 1], [5, 5]], np.float32)}
    found = source(("u", "y"), ("u", "unheard"), ("u", "x"), items=["x", "y", "cold"], features=features)
    info, data = prepared(tmp_path, found)
    assert data.item_ids == ["y", "unheard", "x", "cold"]
    assert data.features["text"].tolist() == [[0, 1], [2, 2], [1, 0], [5, 5]]
    assert info.counts["items_with_the_mean_text_vector"] == info.counts["items_missing_in_the_item_table"] == 1


def test_unknown_items_and_cold_items_can_be_dropped(tmp_path):
    recipe = Recipe(split="given", unknown_items="drop", cold_items="drop")
    info, data = prepared(tmp_path, source(("u", "x"), ("u", "unheard"), ("v", "unheard"), items=["x", "cold"]), recipe)
    assert (data.user_ids, data.item_ids) == (["u"], ["x"])
    assert info.counts["dropped_of_items_missing_in_the_item_table"] == 2


def test_unknown_items_fall_before_the_k_core_is_taken(tmp_path):
    pairs = [("u", "x"), ("u", "y"), ("v", "x"), ("v", "y"), ("w", "unheard"), ("w", "x"), ("u", "unheard")]
    recipe = Recipe(split="given", unknown_items="drop", k_core=2)
    info, data = prepared(tmp_path, source(*pairs, items=["x", "y"]), recipe)
    assert data.user_ids == ["u", "v"]
    assert info.counts["dropped_outside_the_k_core"] == 1


def test_what_is_held_out_of_users_without_training_is_dropped_and_counted(tmp_path):
    info, data = prepared(tmp_path, source(("u", "x"), ("new", "x", 1), ("new", "y", 2), ("u", "y", 2), items="xy"))
    assert data.user_ids == ["u"]
    assert info.counts["dropped_held_out_interactions_of_users_without_training"] == 2
    assert (info.counts["train"], info.counts["valid"], info.counts["test"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("found", "recipe", "message"),
    [
        (source(items="x"), EVERYTHING, "no interactions are left after the filters"),
        (source(("u", "x"), items="x"), Recipe(k_core=5), "dropped outside the k core: 1"),
        (source(("u", "x", 2), items="x"), EVERYTHING, "leaves nothing to train on"),
        (source(("u", "x"), items="xx"), EVERYTHING, "1 item ids more than once: 'x'"),
        (source(("u", "x"), items="x"), Recipe(split="time"), "needs a time for every interaction"),
        (source(("u", "x")), Recipe(unknown_items="error"), "not in the item table: x"),
        (source(("u", "x"), items="x", features={"text": np.ones((2, 3))}), EVERYTHING, "have 2 rows, but there are 1"),
        (source(("u", "x"), items="x", features={"smell": np.ones((1, 3))}), EVERYTHING, "found 'smell'"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(tmp_path, found, recipe, message):
    with pytest.raises(InputError, match=message):
        prepare_dataset(found, tmp_path / "out", recipe)
    assert not any(tmp_path.iterdir())


def test_steps_make_the_features_that_the_source_does_not_bring(tmp_path):
    def widths(items, features):
        lengths = np.array([[len(text), 1] for text in items["text"]], np.float32)
        return MadeFeatures(lengths, 0, EncoderName(name="lengths", version="1"))

    def doubled(items, features):
        return MadeFeatures(2 * features["text"], 3)

    found = source(("u", "y"), ("u", "x"), features={"image": np.array([[7.0], [8.0]])}, items="xy")
    found.items.insert_column(1, pl.Series("text", ["long", "no"]))
    steps = {"text": widths, "image": doubled, "multimodal": doubled}
    info, data = prepared(tmp_path, found, feature_steps=steps)
    assert data.features["text"].tolist() == [[2, 1], [4, 1]]
    assert data.features["image"].tolist() == [[8], [7]]  # given, so its step was not asked
    assert data.features["multimodal"].tolist() == [[4, 2], [8, 2]]
    assert info.counts["items_with_the_mean_multimodal_vector"] == 3
    assert info.features == {"text": 2, "image": 1, "multimodal": 2}
    assert info.encoders == data.encoders == {"text": EncoderName(name="lengths", version="1")}


def test_a_step_with_nothing_to_work_on_makes_no_features(tmp_path):
    _, data = prepared(tmp_path, source(("u", "x")), feature_steps={"text": lambda items, features: None})
    assert data.features == {}


def test_a_prepared_folder_is_replaced_only_where_that_is_wanted(tmp_path):
    prepared(tmp_path, source(("u", "x")))
    with pytest.raises(InputError, match="--overwrite replaces it"):
        prepared(tmp_path, source(("v", "x")))
    _, data = prepared(tmp_path, source(("v", "x")), overwrite=True)
    assert data.user_ids == ["v"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_holds_anything_else_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not a prepared dataset"):
        prepared(tmp_path, source(("u", "x")), overwrite=True)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.tex"]


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import polars as pl
from trainer import prepare
from trainer.data import Recipe, Source

prepare.fingerprint = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
interactions = pl.DataFrame({"user_id": ["u"], "item_id": ["x"]})
prepare.prepare_dataset(Source("small", interactions, pl.DataFrame({"item_id": ["x"]})), Path(sys.argv[1]), Recipe())
"""


def test_a_run_killed_while_it_writes_leaves_nothing_that_opens_and_the_next_one_clears_it(tmp_path):
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "out")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    for folder in (tmp_path / "out", left, left / "new"):
        with pytest.raises(InputError, match="not a prepared dataset"):
            load_dataset(folder)
    prepared(tmp_path, source(("u", "x")))
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_strange_ids_survive(tmp_path):
    pairs = [(user, item) for user in STRANGE_IDS for item in reversed(STRANGE_IDS)]
    _, data = prepared(tmp_path, source(*pairs, items=STRANGE_IDS))
    assert data.user_ids == STRANGE_IDS
    assert data.item_ids == STRANGE_IDS[::-1]


def test_dataset_json_says_where_the_data_came_from_and_how_it_was_chosen(tmp_path):
    found = source(
        ("u", "x"), options={"reader": "table", "file": tmp_path}, counts={"interactions_read": 9}, notes=("n",)
    )
    prepared(tmp_path, found)
    told = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert told["source"] == {"reader": "table", "file": str(tmp_path)}
    assert told["recipe"] == {"split": "given", "seed": 0, "k_core": 0, "unknown_items": "keep", "cold_items": "keep"}
    assert told["counts"]["interactions_read"] == 9
    assert told["notes"][0] == "n"


@given(pairs=st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde")), min_size=1, max_size=40))
def test_every_interaction_comes_back_with_its_own_ids_in_its_order(tmp_path_factory, pairs):
    _, data = prepared(tmp_path_factory.mktemp("law"), source(*pairs, items="abcde"), Recipe(split="random"))
    rows = zip(data.interactions.user_rows, data.interactions.item_rows, strict=True)
    assert [(data.user_ids[user], data.item_ids[item]) for user, item in rows] == pairs
    assert sum(len(data.split(name)) for name in ("train", "valid", "test")) == len(pairs)


@pytest.mark.parametrize(("step", "doubted"), [(1, True), (7, False)])
def test_times_that_only_repeat_the_rows_of_items_are_doubted(tmp_path, step, doubted):
    rows = [(user, place * step % 20, place) for user in range(10) for place in range(20)]
    found = Source(
        name="sorted",
        interactions=pl.DataFrame(
            {
                "user_id": [f"u{user}" for user, _, _ in rows],
                "item_id": [f"i{item}" for _, item, _ in rows],
                "timestamp": [place for _, _, place in rows],
            }
        ),
        items=pl.DataFrame({"item_id": [f"i{row}" for row in range(20)]}),
        user_ids=[f"u{row}" for row in range(10)],
    )
    notes = prepare_dataset(found, tmp_path / "data", Recipe(split="time")).notes
    assert any("follow the rows of the items" in note for note in notes) is doubted
