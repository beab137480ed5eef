"""Who was forgotten is in no data set that a retraining makes."""

from pathlib import Path

import polars as pl
import pytest
from worlds import topics_dataset

from index.errors import InputError
from index.forgotten import ForgottenPeople, forgotten_file, person_hash, read_forgotten
from trainer.data import Dataset, load_dataset
from trainer.datasets.event_log import read_feedback
from trainer.merge import MergeOptions, merge_feedback

KEY = bytes(16)
ANN, TWICE = "user 7", "user 8"
ELEMENTS = (
    f"key:{KEY.hex()}",
    f"{person_hash(ANN, KEY)}.2.first",
    f"{person_hash(TWICE, KEY)}.1.second",
    f"{person_hash(TWICE, KEY)}.3.third",
)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return topics_dataset(tmp_path_factory.mktemp("old") / "data")


def merged(old: Dataset, folder: Path, *users: str) -> Dataset:
    """Likes by these users in order, merged without the forgotten people."""
    items = old.item_ids
    columns = {
        "event_id": [f"e{i}" for i in range(len(users))],
        "user_id": users,
        "item_id": [items[i] for i in range(len(users))],
        "kind": ["like"] * len(users),
        "timestamp": [1.7e9] * len(users),
        "position": range(1, len(users) + 1),
    }
    pl.DataFrame(columns).write_parquet(folder / "events.parquet")
    (folder / "forget.json").write_bytes(forgotten_file(ELEMENTS))
    people = read_forgotten(folder / "forget.json")
    feedback = read_feedback(folder / "events.parquet", forgotten=people)
    merge_feedback(old, feedback, MergeOptions(), folder / "new", forgotten=people)
    return load_dataset(folder / "new")


def test_a_forgotten_person_is_left_out_of_old_data_and_of_earlier_events(old: Dataset, tmp_path: Path) -> None:
    assert {ANN, TWICE} <= set(old.user_ids)
    new = merged(old, tmp_path, ANN, "user 9", TWICE, "stranger")
    assert not {ANN, TWICE} & set(new.user_ids)
    assert set(old.user_ids) - {ANN, TWICE} < set(new.user_ids)
    assert not any(ANN.encode() == one.encode() for one in new.user_ids)
    for file in (tmp_path / "new").rglob("*.json"):
        assert f'"{ANN}"' not in file.read_text()


def test_later_events_are_of_a_new_person_who_has_nothing_else(old: Dataset, tmp_path: Path) -> None:
    new = merged(old, tmp_path, ANN, "user 9", TWICE, ANN)
    row = new.user_ids.index(ANN)
    of_ann = new.interactions.item_rows[new.interactions.user_rows == row]
    assert [new.item_ids[item] for item in of_ann] == [old.item_ids[3]]
    assert TWICE not in new.user_ids


def test_hashes_under_other_keys_and_elements_of_others_name_no_one() -> None:
    people = ForgottenPeople.of([*ELEMENTS[1:], f"key:{'1' * 32}", "what is this", ""])
    assert (people.positions([ANN, TWICE]), len(people.receipts)) == ({}, 3)
    assert ForgottenPeople().positions([ANN]) == {}
    assert ForgottenPeople.of(ELEMENTS).positions([ANN, TWICE, "user 9"]) == {ANN: 2, TWICE: 3}


@pytest.mark.parametrize("text", ["[", "[]", '{"forgotten": 3}', '{"forgotten": [3]}', '{"forgotten": ["ann"]}'])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "forget.json").write_text(text)
    with pytest.raises(InputError, match="forgotten people"):
        read_forgotten(tmp_path / "forget.json")
