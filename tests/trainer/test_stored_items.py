"""The service's stored items as a file: what is read, which state counts, and what is refused."""

import numpy as np
import polars as pl
import pytest
from exported_items import deleted, stored, write_items

from index.errors import InputError
from trainer.datasets.stored_items import read_stored_items


def test_items_are_read_with_what_was_stored_and_deleted_ones_apart(tmp_path):
    file = write_items(
        tmp_path / "items.parquet",
        stored("a", title="Chair", text="Of oak.", categories=["chair", "oak"], attributes={"price": 3, "new": True}),
        deleted("b"),
        stored("c", image="c.jpg", features={"text": [1, 2]}),
    )
    found = read_stored_items(file)
    assert found.items.select("item_id", "title", "category", "text", "image").rows() == [
        ("a", "Chair", "chair", "Of oak.", ""),
        ("c", "", "", "", "c.jpg"),
    ]
    assert found.items["categories"].to_list() == [["chair", "oak"], []]
    assert found.attributes == [{"price": 3, "new": True}, {}]
    assert found.deleted == {"b"}
    rows, features = found.ready("text", 2)
    assert (rows.tolist(), features.tolist()) == ([1], [[1, 2]])
    assert len(found.ready("image", 7)[0]) == 0


def test_of_a_folder_the_file_of_the_later_name_has_the_newer_state(tmp_path):
    write_items(tmp_path / "1.parquet", stored("a", title="old"), stored("b"), deleted("c"))
    write_items(tmp_path / "2.parquet", stored("a", title="new"), deleted("b"), stored("c"))
    found = read_stored_items(tmp_path)
    assert dict(found.items.select("item_id", "title").iter_rows()) == {"a": "new", "c": ""}
    assert found.deleted == {"b"}


def test_an_export_without_deletions_and_features_or_with_fixed_arrays_is_read_as_well(tmp_path):
    file = write_items(tmp_path / "items.parquet", stored("a", features={"text": [1, 2]}))
    table = pl.read_parquet(file)
    table.drop("deleted", "features_image", "features_multimodal").with_columns(
        pl.col("features_text").list.to_array(2), pl.col("created_at").cast(pl.Int64)
    ).write_parquet(file)
    found = read_stored_items(file)
    assert not found.deleted
    np.testing.assert_array_equal(found.ready("text", 2)[1], [[1, 2]])


def test_no_items_are_none(tmp_path):
    found = read_stored_items(write_items(tmp_path / "items.parquet"))
    assert (len(found.items), found.attributes, found.deleted) == (0, [], frozenset())
    assert found.ready("text", 3)[1].shape == (0, 3)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda table: table.drop("title", "available"), "lacks the columns title, available; found item_id"),
        (lambda table: table.with_columns(title=pl.lit(1)), "column 'title' holds Int32; expected String"),
        (lambda table: table.with_columns(categories=pl.lit("x")), r"column 'categories' holds String; expected List"),
        (lambda table: table.with_columns(available=pl.lit("yes")), "column 'available' holds String"),
        (lambda table: table.with_columns(features_text=pl.lit("1 2")), "'features_text' holds String; expected lists"),
        (lambda table: table.with_columns(item_id=pl.lit(None, pl.String)), "2 of 2 items have no item_id"),
        (lambda table: table.with_columns(item_id=pl.lit("")), "2 of 2 items have no item_id"),
        (lambda table: table.with_columns(item_id=pl.lit("a")), "1 item ids are there more than once, first 'a'"),
        (lambda table: table.with_columns(attributes=pl.lit("{")), "item 'a': its attributes are no JSON"),
        (lambda table: table.with_columns(attributes=pl.lit("[1]")), "item 'a': its attributes are a JSON list"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_sentence(tmp_path, break_it, said):
    file = write_items(tmp_path / "items.parquet", stored("a"), stored("b"))
    break_it(pl.read_parquet(file)).write_parquet(file)
    with pytest.raises(InputError, match=said):
        read_stored_items(file)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1.0, 2.0, 3.0], "item 'b' has 3 numbers in features_text; expected 2, as the text features of the data have"),
        ([], "item 'b' has 0 numbers in features_text"),
        ([1.0, float("nan")], "item 'b' has NaN or infinite values in features_text"),
        ([1.0, None], "item 'b' has NaN or infinite values"),
    ],
)
def test_ready_features_of_another_width_or_without_a_number_are_refused(tmp_path, row, said):
    file = write_items(
        tmp_path / "items.parquet", stored("a", features={"text": [1, 2]}), stored("b", features={"text": row})
    )
    with pytest.raises(InputError, match=said):
        read_stored_items(file).ready("text", 2)


def test_what_is_no_parquet_damaged_or_not_there_is_refused(tmp_path):
    whole = write_items(tmp_path / "items.parquet", *(stored(f"i{n}", text="words " * 50) for n in range(50)))
    content = whole.read_bytes()
    for name, found in {
        "text": b"no Parquet",
        "short": content[:-100],
        "flipped": content[:40] + b"\0" * 400 + content[440:],
    }.items():
        (tmp_path / name).write_bytes(found)
        with pytest.raises(InputError, match=f"{name} cannot be read as exported items"):
            read_stored_items(tmp_path / name)
    for gone in (tmp_path / "gone", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"no such file of items, nor a folder with \.parquet files"):
            read_stored_items(gone)
