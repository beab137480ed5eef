import numpy as np
import pytest

from index.errors import InputError
from trainer.data import Recipe, load_dataset
from trainer.datasets.item_table import ItemTableOptions
from trainer.datasets.mmrec import read
from trainer.prepare import prepare_dataset

INTER = """userID\titemID\trating\ttimestamp\tx_label
0\t2\t5.0\t1000\t0
0\t0\t4.0\t1001\t1
2\t4\t3.0\t900\t2
3\t0\t1.0\t950\t0
3\t2\t1.0\t980\t2
"""  # user 1 and items 1 and 3 have no row; user 2 has only a test row


@pytest.fixture
def layout(tmp_path):
    folder = tmp_path / "baby"
    folder.mkdir()
    (folder / "baby.inter").write_text(INTER)
    np.save(folder / "image_feat.npy", np.arange(10.0).reshape(5, 2) + 1)  # float64, as published
    np.save(folder / "text_feat.npy", np.ones((5, 3), np.float16))
    return folder


def prepared(tmp_path, source, recipe=Recipe(split="given")):  # noqa: B008
    info = prepare_dataset(source, tmp_path / "out", recipe, overwrite=True)
    return info, load_dataset(tmp_path / "out")


def test_the_layout_is_kept_as_it_is(layout, tmp_path):
    info, data = prepared(tmp_path, read(layout))
    assert data.name == "baby"
    assert (data.user_ids, data.item_ids) == (list("0123"), list("01234"))
    assert data.interactions.user_rows.tolist() == [0, 0, 3, 3]  # file order
    assert data.interactions.item_rows.tolist() == [2, 0, 0, 2]
    assert data.interactions.splits.tolist() == [0, 1, 0, 2]
    assert data.interactions.timestamps.tolist() == [1000, 1001, 950, 980]
    assert info.counts["dropped_held_out_interactions_of_users_without_training"] == 1
    assert info.counts["cold_items"] == 3


def test_features_keep_their_rows_and_half_precision(layout, tmp_path):
    _, data = prepared(tmp_path, read(layout))
    assert data.features["image"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert data.features["image"].dtype == np.float32
    assert data.features["text"].dtype == np.float16


def test_fused_features_come_from_a_second_folder_or_a_file(layout, tmp_path):
    (tmp_path / "beit3").mkdir()
    np.save(tmp_path / "beit3" / "image_feat.npy", np.full((5, 7), 2, np.float32))
    for multimodal in (tmp_path / "beit3", tmp_path / "beit3" / "image_feat.npy"):
        _, data = prepared(tmp_path, read(layout, multimodal=multimodal))
        assert data.features["multimodal"].tolist() == [[2] * 7] * 5


def test_missing_modalities_are_allowed(layout, tmp_path):
    for name in ("image_feat.npy", "text_feat.npy"):
        (layout / name).unlink()
    assert prepared(tmp_path, read(layout))[1].features == {}


def test_ids_are_mapped_back(layout, tmp_path):
    (layout / "i_id_mapping.csv").write_text("asin\titemID\nB4\t4\nB3\t3\nB2\t2\nB1\t1\n00B0\t0\n")
    (layout / "u_id_mapping.csv").write_text("user_id\tuserID\nA0\t0\nA1\t1\nA2\t2\nA3\t3\nunused\t4\n")
    _, data = prepared(tmp_path, read(layout))
    assert data.item_ids == ["00B0", "B1", "B2", "B3", "B4"]
    assert data.user_ids == ["A0", "A1", "A2", "A3"]


def test_the_labels_can_be_made_anew(layout, tmp_path):
    info, data = prepared(tmp_path, read(layout), Recipe(split="random"))
    assert len(data.split("train")) == len(data.interactions) == 5  # nobody has three interactions
    assert info.counts["dropped_held_out_interactions_of_users_without_training"] == 0


def test_an_item_table_adds_what_people_see(layout, tmp_path):
    (tmp_path / "items.csv").write_text("id,title\n4,Cup\n0,Spoon\n99,Elsewhere\n")
    info, data = prepared(tmp_path, read(layout, items=ItemTableOptions(tmp_path / "items.csv")))
    assert data.items["title"].to_list() == ["Spoon", "", "", "", "Cup"]
    assert info.counts["items_missing_in_the_item_table"] == 3
    assert info.counts["described_items_not_in_the_layout"] == 1


def test_pictures_are_found_without_an_item_table(layout, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "4.jpg").touch()
    _, data = prepared(tmp_path, read(layout, images=tmp_path / "pictures"))
    assert data.items["image"].to_list() == ["", "", "", "", str(tmp_path / "pictures" / "4.jpg")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("toys.inter", INTER, "expected one .inter file, found baby.inter, toys.inter"),
        ("baby.inter", "user\titem\nu\ti\n", "no column itemID, userID; it has: user, item"),
        ("baby.inter", "userID\titemID\nu7\t0\n", "userID must be integers from 0 on; 1 are not, first 'u7'"),
        ("baby.inter", "userID\titemID\n0\t-1\n", "first '-1'"),
        ("baby.inter", "userID\titemID\n", "has no interactions"),
        ("baby.inter", "", "has no rows, not even a header"),
        ("i_id_mapping.csv", "asin\titemID\nB0\t0\n", "must name each of 5 itemID once; 1 are named"),
        ("i_id_mapping.csv", "asin,itemID\nB0,0\n", "expected itemID and one other column, tab-separated"),
        ("u_id_mapping.csv", "u\tuserID\nA\t0\nA\t1\nB\t2\nC\t3\n", "must name each of 4 userID once; 3 are named"),
    ],
)
def test_a_layout_that_is_none_is_refused(layout, name, content, message):
    (layout / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(layout)


def test_features_of_other_items_are_refused(layout, tmp_path):
    np.save(layout / "text_feat.npy", np.ones((6, 3), np.float32))
    with pytest.raises(InputError, match="text features have 6 rows, but there are 5 items"):
        prepared(tmp_path, read(layout))


def test_given_labels_that_are_not_there_are_refused(layout, tmp_path):
    (layout / "baby.inter").write_text("userID\titemID\n0\t0\n4\t4\n")
    with pytest.raises(InputError, match="the input has none"):
        prepared(tmp_path, read(layout))
