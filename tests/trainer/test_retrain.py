"""Old data and an event log in, a bundle out: what is kept, what is taken back, what is held out, and crashes."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import forkserver
import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from killed import killed_after_checkpoints
from worlds import topics_dataset

from index.auto.choice import AutoLimits
from index.bundle import open_bundle
from index.errors import InputError
from index.forgotten import ForgottenPeople, person_hash
from index.gate import check_bundle, incumbent_split
from index.registry import Registry
from index.storage import locked
from loadtests.random_bundle import RandomBundleSizes, publish_random
from trainer.config import load_config, shipped_configs
from trainer.data import INTERACTION_SCHEMA, load_dataset, read_info
from trainer.datasets.event_log import read_feedback
from trainer.fit import make_model
from trainer.incumbent import evaluate_bundle
from trainer.merge import MergeOptions, merge_feedback, merge_interactions
from trainer.models import FittedModel, Work
from trainer.retrain import RetrainOptions, retrain, serving_config
from trainer.run_folder import RunFolder
from trainer.warm_start import WarmStart

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUICK = ("model.embedding_size=8", "training.epochs=3", "training.batch_size=128", "evaluation.bootstrap=0")
LATER = 1_700_000_000.5


def write_events(file, *events):
    """(user, item, kind) in the log's order; positions from 1."""
    rows = [
        {
            "event_id": f"e{position}",
            "user_id": user,
            "item_id": item,
            "kind": kind,
            "value": 1.0,
            "timestamp": LATER + position,
            "request_id": None,
            "bundle": None,
            "position": position,
        }
        for position, (user, item, kind) in enumerate(events, start=1)
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(file)
    return file


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("old") / "data")


def labels(dataset):
    """(user id, item id) -> label."""
    rows = dataset.interactions
    return {
        (dataset.user_ids[user], dataset.item_ids[item]): int(label)
        for user, item, label in zip(rows.user_rows, rows.item_rows, rows.splits, strict=True)
    }


def after(old, tmp_path, *events, positive=("click", "like", "purchase"), **merging):
    """The dataset that old data and these events make."""
    feedback = read_feedback(write_events(tmp_path / "events.parquet", *events), positive)
    merge_feedback(old, feedback, MergeOptions(**merging), tmp_path / "new")
    return load_dataset(tmp_path / "new")


def unseen(old, user_id):
    """Items that a user of the old data has not, in order of rows."""
    had = {item for user, item in labels(old) if user == user_id}
    return [item for item in old.item_ids if item not in had]


def order(old, tmp_path, *events, **options):
    fields = {"config": load_config("lightgcn", QUICK), "registry": Registry(tmp_path / "bundles"), **options}
    return RetrainOptions(data=old.path, events=write_events(tmp_path / "events.parquet", *events), **fields)


# What becomes of the data


def test_old_interactions_keep_their_labels_and_features_their_items(old, tmp_path):
    new = after(old, tmp_path, ("user 0", unseen(old, "user 0")[0], "like"), ("stranger", "item/3", "click"))
    assert {pair: label for pair, label in labels(new).items() if pair in labels(old)} == labels(old)
    assert sorted(new.item_ids) == sorted(old.item_ids)
    for name, features in old.features.items():
        rows = [new.item_ids.index(item_id) for item_id in old.item_ids]
        np.testing.assert_array_equal(new.features[name][rows], features)
    assert new.items.sort("item_id").equals(old.items.sort("item_id"))


def test_a_dislike_takes_back_what_came_before_it_old_or_new_but_not_what_comes_after(old, tmp_path):
    had = next(item for (user, item), label in labels(old).items() if user == "user 0" and label == 0)
    first, second = unseen(old, "user 0")[:2]
    new = after(
        old,
        tmp_path,
        ("user 0", had, "dislike"),
        ("user 0", first, "like"),
        ("user 0", first, "dislike"),
        ("user 0", second, "dislike"),
        ("user 0", second, "purchase"),
    )
    assert set(labels(new)) == set(labels(old)) - {("user 0", had)} | {("user 0", second)}
    counts = read_info(tmp_path / "new").counts
    assert counts["old_interactions_taken_back_by_a_dislike"] == 1


def test_views_count_only_when_asked_for_and_impressions_never(old, tmp_path):
    item = unseen(old, "user 0")[0]
    events = (("user 0", item, "impression"), ("user 0", item, "view"), ("user 0", "", "impression"))
    (tmp_path / "with").mkdir()
    assert set(labels(after(old, tmp_path, *events))) == set(labels(old))
    with_views = after(old, tmp_path / "with", *events, positive=("view",))
    assert set(labels(with_views)) == set(labels(old)) | {("user 0", item)}


def test_items_that_the_catalogue_lacks_are_skipped_and_counted(old, tmp_path):
    new = after(old, tmp_path, ("user 0", "item/unheard of", "like"), ("nobody", "item/unheard of", "like"))
    assert labels(new) == labels(old)
    assert read_info(new.path).counts["event_pairs_of_unknown_items_skipped"] == 2


def test_an_event_that_is_there_twice_and_a_pair_that_is_there_often_count_once(old, tmp_path):
    item = unseen(old, "user 0")[0]
    file = write_events(tmp_path / "events.parquet", *[("user 0", item, "click")] * 5)
    pl.concat([pl.read_parquet(file)] * 2).write_parquet(file)
    feedback = read_feedback(file)
    info = merge_feedback(old, feedback, MergeOptions(), tmp_path / "new")
    assert info.n_interactions == len(old.interactions) + 1
    assert (info.counts["events_repeated"], feedback.last_position) == (5, 5)
    new = load_dataset(tmp_path / "new").interactions
    assert new.timestamps[-1] == int(LATER + 1)  # the first click


def test_a_new_users_first_interaction_is_for_training_even_if_all_were_to_be_held_out(old, tmp_path):
    events = [("stranger", item, "like") for item in old.item_ids[:5]]
    new = after(old, tmp_path, *events, valid_share=1.0)
    got = {item: label for (user, item), label in labels(new).items() if user == "stranger"}
    assert got == dict(zip(old.item_ids[:5], (0, 1, 1, 1, 1), strict=True))


def test_a_tenth_of_the_new_interactions_is_fresh_truth_for_the_gate():
    words = pl.DataFrame(
        [(f"u{user}", f"i{item}", 1, True) for user in range(100) for item in range(50)],
        schema=["user_id", "item_id", "timestamp", "liked"],
        orient="row",
    )
    nothing = pl.DataFrame(schema=INTERACTION_SCHEMA)
    _, counts = merge_interactions(nothing, words, [f"i{item}" for item in range(50)], MergeOptions())
    assert 400 < counts["new_valid"] < 600  # 490 expected, four deviations are 84
    assert counts["new_valid"] + counts["new_train"] == 5_000


@given(st.permutations(range(30)), st.integers(0, 30))
def test_a_pair_keeps_its_place_in_every_later_retraining(shuffled, n_first):
    """Whatever else is in the log, and whether the old data have it already."""
    words = pl.DataFrame(
        [("u", f"i{item}", 1, True) for item in range(30)],
        schema=["user_id", "item_id", "timestamp", "liked"],
        orient="row",
    )
    items = [f"i{item}" for item in range(30)] + ["known"]
    old = pl.DataFrame(
        {"user_id": ["u"], "item_id": ["known"], "rating": [None], "timestamp": [0], "split": [0]},
        schema=INTERACTION_SCHEMA,
    )
    at_once = places(merge_interactions(old, words, items, MergeOptions())[0])
    first = words[shuffled[:n_first]]
    between, _ = merge_interactions(old, first, items, MergeOptions())
    assert places(merge_interactions(between, words, items, MergeOptions())[0]) == at_once


def places(interactions):
    return dict(interactions.select("item_id", "split").iter_rows())


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda frame: frame.drop("position", "kind"), "lacks the columns kind, position"),
        (lambda frame: frame.with_columns(timestamp=pl.lit(float("nan"))), "1 events lack a value or have a time"),
        (lambda frame: frame.with_columns(timestamp=pl.lit(1e300)), "events.parquet: column 'timestamp': no value"),
        (lambda frame: frame.with_columns(timestamp=pl.lit(1.7e12)), "no value read as seconds lies between 1970"),
        (lambda frame: frame.with_columns(timestamp=pl.lit([1.0])), "column 'timestamp' holds List"),
        (lambda frame: pl.concat([frame, frame.with_columns(timestamp=pl.lit(1e18))]), r"1 events .*first .*1e\+18"),
        (lambda frame: frame.with_columns(user_id=pl.lit(None, pl.String)), "1 events lack a value"),
        (lambda frame: frame.with_columns(position=pl.lit("first")), "cannot be read as exported events"),
    ],
)
def test_a_log_that_cannot_be_meant_is_refused_in_one_sentence(tmp_path, break_it, said):
    file = write_events(tmp_path / "events.parquet", ("u", "i", "like"))
    break_it(pl.read_parquet(file)).write_parquet(file)
    with pytest.raises(InputError, match=said):
        read_feedback(file)


def test_a_file_that_is_no_parquet_or_not_there_and_a_kind_that_is_none_are_refused(tmp_path):
    (tmp_path / "text").write_text("not Parquet")
    with pytest.raises(InputError, match="cannot be read as exported events"):
        read_feedback(tmp_path / "text")
    with pytest.raises(InputError, match="no such file of events"):
        read_feedback(tmp_path / "absent")
    with pytest.raises(InputError, match="found impression"):
        read_feedback(write_events(tmp_path / "events.parquet", ("u", "i", "like")), ("impression",))


def test_a_folder_of_exports_that_overlap_is_one_log(old, tmp_path):
    item, other = unseen(old, "user 0")[:2]
    (tmp_path / "log").mkdir()
    file = write_events(tmp_path / "events.parquet", ("user 0", item, "like"), ("user 0", item, "dislike"),
                        ("user 0", other, "like"))  # fmt: skip
    events = pl.read_parquet(file)
    events[1:].write_parquet(tmp_path / "log" / "1.parquet")  # the names do not decide, positions do
    events[:2].write_parquet(tmp_path / "log" / "2.parquet")
    assert read_feedback(tmp_path / "log").pairs.equals(read_feedback(file).pairs)
    assert read_feedback(tmp_path / "log").counts["events_repeated"] == 1


# From data to a bundle


def test_the_bundle_knows_new_users_and_how_far_it_read_and_the_gate_compares_on_the_same_data(old, tmp_path):
    likes = [("stranger", f"item/{item}", "like") for item in range(0, 40, 4)]
    first = retrain(order(old, tmp_path, ("user 0", "item/1", "impression")), tmp_path / "first", now=NOW)
    Registry(tmp_path / "bundles").publish(first.bundle)
    second = retrain(order(old, tmp_path, *likes), tmp_path / "second", now=NOW)
    bundle = open_bundle(tmp_path / "bundles" / second.bundle)
    assert bundle.manifest.events_position == second.events_position == 10
    row = bundle.user_ids.row("stranger")
    assert {bundle.item_ids[item] for item in bundle.seen(row)} <= {item for _, item, _ in likes}
    report = check_bundle(bundle.path, tmp_path / "bundles" / first.bundle)
    (check,) = [check for check in report.checks if check.name == "valid recall@20"]
    assert f"of {first.bundle}" in check.required
    assert "not comparable" not in check.required
    assert set(bundle.manifest.metrics) == {"valid", "test", incumbent_split(first.bundle)}


def test_a_bundle_measured_on_its_own_data_gets_the_figures_that_training_gave_it(old, tmp_path):
    done = retrain(order(old, tmp_path, ("user 0", "item/1", "impression")), tmp_path / "out", now=NOW)
    bundle = open_bundle(tmp_path / "bundles" / done.bundle)
    measured = evaluate_bundle(bundle, load_dataset(tmp_path / "out" / "data"), (5, 20))
    for name, value in measured.items():
        assert value == pytest.approx(bundle.manifest.metrics["valid"][name], abs=1e-6), name


def test_a_second_call_answers_from_the_folder_and_another_order_is_refused(old, tmp_path):
    asked = order(old, tmp_path, ("user 0", "item/1", "like"))
    first = retrain(asked, tmp_path / "out", now=NOW)
    assert retrain(asked, tmp_path / "out", now=datetime.now(UTC)) == first
    with pytest.raises(InputError, match="started with another index limits"):
        retrain(replace(asked, limits=AutoLimits(recall_floor=0.9)), tmp_path / "out", now=NOW)
    with pytest.raises(InputError, match="started with another events"):
        retrain(order(old, tmp_path, ("user 0", "item/2", "like")), tmp_path / "out", now=NOW)
    with pytest.raises(InputError, match="not empty and holds no retraining"):
        retrain(asked, old.path, now=NOW)


def test_the_bundle_has_the_index_and_the_precision_that_were_asked_for(old, tmp_path):
    asked = replace(order(old, tmp_path, ("user 0", "item/1", "like")), factory="IVF2,Flat", precision="int8")
    manifest = open_bundle(tmp_path / "bundles" / retrain(asked, tmp_path / "out", now=NOW).bundle).manifest
    assert (manifest.index.factory, manifest.tables.precision) == ("IVF2,Flat", "int8")


def test_a_warm_start_continues_each_user_and_item_where_the_earlier_run_left_them(old, tmp_path):
    first = retrain(order(old, tmp_path, ("user 0", "item/1", "view")), tmp_path / "first", now=NOW)
    still = load_config("lightgcn", (*QUICK, "training.epochs=1", "training.learning_rate=1e-12"))
    again = order(old, tmp_path, ("a stranger", "item/1", "like"), warm_start=tmp_path / "first" / "run", config=still)
    retrain(again, tmp_path / "second", now=NOW)
    before, after = (RunFolder(tmp_path / name / "run") for name in ("first", "second"))
    states = [_best(folder) for folder in (before, after)]
    for user_id in ("user 0", "user 59"):
        rows = [folder.dataset().user_ids.index(user_id) for folder in (before, after)]
        expected, found = (state["user_embedding"][row] for state, row in zip(states, rows, strict=True))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert first.bundle in Registry(tmp_path / "bundles").ids()


def test_a_warm_start_from_another_model_is_refused(old, tmp_path):
    retrain(order(old, tmp_path, ("user 0", "item/1", "view")), tmp_path / "first", now=NOW)
    wider = load_config("lightgcn", (*QUICK, "model.embedding_size=16"))
    asked = order(old, tmp_path, ("user 0", "item/1", "view"), warm_start=tmp_path / "first" / "run", config=wider)
    with pytest.raises(InputError, match="a warm start needs the same"):
        retrain(asked, tmp_path / "second", now=NOW)


def test_a_model_that_cannot_be_served_is_refused_before_anything_is_written(old, tmp_path):
    asked = order(old, tmp_path, ("user 0", "item/1", "view"), config=load_config("vsknn"))
    with pytest.raises(InputError, match="vsknn has no embeddings: a retraining could not write its bundle"):
        retrain(asked, tmp_path / "out", now=NOW)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", shipped_configs())
def test_a_warm_start_follows_ids_in_every_table_that_has_a_row_a_user_or_item(name, tmp_path):
    dataset = topics_dataset(tmp_path / "data", n_users=61, n_items=47, per_user=5)
    config = load_config(name)
    model, other = make_model(dataset, config), make_model(dataset, config.model_copy(update={"seed": 1}))
    users, items = (torch.randperm(n) for n in (dataset.n_users, dataset.n_items))
    if isinstance(other, FittedModel):
        other.solution = other.solve(Work())
        WarmStart(other.state_dict(), users, items)(model)
        before = other.item_side(other.solution)
        assert model.start is before or torch.equal(model.start, before[items])
        return
    state = {key: value.detach() + 1 for key, value in other.named_parameters()}
    WarmStart(state, users, items)(model)
    for key, parameter in model.named_parameters():
        rows = {61: users, 47: items}.get(len(parameter) if parameter.ndim else 0)
        torch.testing.assert_close(parameter.data, state[key] if rows is None else state[key][rows])


def _best(folder):
    return torch.load(folder.path / "best.pt", weights_only=True)["model"]


# Ends before the end


def test_two_processes_do_not_work_in_one_folder(old, tmp_path):
    asked = order(old, tmp_path, ("stranger", "item/1", "like"))
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(InputError, match="another process is using"):
        retrain(asked, tmp_path / "out", now=NOW)
    assert list((tmp_path / "out").iterdir()) == []


def test_killed_in_training_it_is_taken_up_and_ends_in_one_whole_bundle(old, tmp_path):
    write_events(tmp_path / "events.parquet", ("stranger", "item/1", "like"))
    n_epochs = 4
    killed_after_checkpoints(2, *command(old, tmp_path, epochs=n_epochs))
    assert (tmp_path / "out" / "run" / "last.pt").exists()
    assert not (tmp_path / "bundles").exists()
    done = forkserver.run("trainer", *command(old, tmp_path, epochs=n_epochs))
    assert done.returncode == 0, done.stderr
    bundle_id = json.loads(done.stdout.splitlines()[-1])["bundle"]
    assert Registry(tmp_path / "bundles").ids() == [bundle_id]
    assert open_bundle(tmp_path / "bundles" / bundle_id).user_ids.row("stranger") is not None
    history = (tmp_path / "out" / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == list(range(n_epochs))


def command(old, tmp_path, *, epochs):
    settings = (*QUICK, f"training.epochs={epochs}", "training.patience=1000000", "training.checkpoint_every=1")
    return [
        "retrain", str(old.path), "--events", str(tmp_path / "events.parquet"),
        "--registry", str(tmp_path / "bundles"), "--out", str(tmp_path / "out"), "--config", "lightgcn",
        *(part for setting in settings for part in ("--set", setting)),
    ]  # fmt: skip


def test_killed_after_the_bundle_stood_it_finds_the_same_bundle_again(old, tmp_path):
    asked = order(old, tmp_path, ("stranger", "item/1", "like"))
    first = retrain(asked, tmp_path / "out", now=NOW)
    (tmp_path / "out" / "result.json").unlink()
    assert retrain(asked, tmp_path / "out", now=datetime.now(UTC)) == first
    assert Registry(tmp_path / "bundles").ids() == [first.bundle]


def test_a_bundle_says_whom_its_training_left_out(old, tmp_path):
    key = bytes(16)
    people = ForgottenPeople.of([f"key:{key.hex()}", f"{person_hash('user 0', key)}.1.receipt-1"])
    events = ("user 0", "item/1", "like"), ("ann", "item/2", "like")
    made = retrain(order(old, tmp_path, *events, forgotten=people), tmp_path / "out", now=NOW)
    bundle = open_bundle(Registry(tmp_path / "bundles").path(made.bundle))
    assert bundle.manifest.forgotten == ("receipt-1",)
    assert (bundle.user_ids.row("user 0"), made.counts["events_of_forgotten_people"]) == (None, 1)
    assert bundle.user_ids.row("ann") is not None
    with pytest.raises(InputError, match="was started with another forgotten people"):
        retrain(order(old, tmp_path, *events), tmp_path / "out", now=NOW)


def test_without_a_configuration_the_next_bundle_has_the_settings_of_the_one_that_serves(old, tmp_path):
    registry = Registry(tmp_path / "bundles")
    assert serving_config(registry, ("seed=5",)) == load_config("anchorease", ("seed=5",))
    config = load_config("lightgcn", QUICK)
    registry.publish(
        retrain(order(old, tmp_path, ("ann", "item/3", "click"), config=config), tmp_path / "retrained", now=NOW).bundle
    )
    assert serving_config(registry, ()) == config
    assert serving_config(registry, ("seed=5",)).seed == 5


def test_a_bundle_of_other_software_does_not_say_how_to_train_the_next(tmp_path):
    sizes = RandomBundleSizes(n_items=20, n_users=5, seen_per_user=3, embedding_size=4)
    publish_random(tmp_path / "bundles", sizes, np.random.default_rng(0))
    with pytest.raises(InputError, match="choose one with --config"):
        serving_config(Registry(tmp_path / "bundles"), ())


def test_a_failure_leaves_the_registry_as_it_was(old, tmp_path):
    hopeless = load_config("lightgcn", (*QUICK, "training.learning_rate=1e30", "training.batch_size=16"))
    with pytest.raises(InputError, match="the loss is"):
        retrain(order(old, tmp_path, ("stranger", "item/1", "like"), config=hopeless), tmp_path / "out", now=NOW)
    assert not (tmp_path / "bundles").exists()
