"""Ids of input tables, and whether those of two inputs meet."""

import os
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from index.errors import InputError
from trainer.datasets.ids import as_ids, read_ids
from trainer.datasets.item_table import ItemTableOptions, with_pictures_from
from trainer.datasets.joining import meeting_note
from trainer.datasets.table import InteractionOptions, read

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "dtype", "ids"),
    [
        ([1.0, NAN, None, -0.0], None, ["1", None, None, "0"]),
        ([2.0**53 - 1], None, ["9007199254740991"]),
        ([1.5, 2.0], None, ["1.5", "2"]),
        ([2**64 - 1], pl.UInt64, ["18446744073709551615"]),
        ([Decimal("1.00"), Decimal("12345678901234567890.00")], pl.Decimal(38, 2), ["1", "12345678901234567890"]),
        ([b"ab", None], None, ["ab", None]),
        (["a", "b"], pl.Categorical, ["a", "b"]),
        (["a"], pl.Enum(["a"]), ["a"]),
        ([None, None], None, [None, None]),
        ([" a ", "\u00a0b\t", "  ", ""], None, ["a", "b", None, None]),
        (["1.0", "nan", "20.0", ""], None, ["1", None, "20", None]),
        (["1.0", "2", "-0.0", "007"], None, ["1", "2", "0", "007"]),
        (["NaN", "1"], None, [None, "1"]),
        (["nan", "Bob", "1.0"], None, ["nan", "Bob", "1.0"]),
        (["1e3", "1.0", "1.50"], None, ["1e3", "1.0", "1.50"]),
        (["9007199254740993", "12345678901234567890123"], None, ["9007199254740993", "12345678901234567890123"]),
    ],
)
def test_ids_are_the_text_that_a_person_would_write(values, dtype, ids):
    assert as_ids(pl.Series("id", values, dtype)).to_list() == ids


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([2.0**53, 1.0], None),
        ([-(2.0**60)], None),
        ([1e20], None),
        ([INF, 1.0], None),
        ([2.0**24], pl.Float32),
        (["9007199254740993.0"], None),
        (["inf", "1.0"], None),
        ([True], None),
        ([date(2020, 1, 1)], None),
        ([datetime(2020, 1, 1, tzinfo=UTC)], None),
        ([time(1)], None),
        ([timedelta(1)], None),
        ([["a"]], None),
        ([{"a": 1}], None),
        ([b"\xff"], None),
        (["a\0b"], None),
    ],
)
def test_what_cannot_be_an_id_is_refused_with_the_column(values, dtype):
    with pytest.raises(InputError, match="column 'id' "):
        as_ids(pl.Series("id", values, dtype))


def test_text_can_be_taken_as_it_stands():
    assert read_ids(pl.Series([" 1.0 ", "nan", ""]), exact=True).values.to_list() == [" 1.0 ", "nan", None]


def joined(tmp_path, interactions, items, exact=False):
    (tmp_path / "r.csv").write_text("user,item\n" + "".join(f"u{i},{i}\n" for i in interactions))
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"{i},T\n" for i in items))
    source = read(
        InteractionOptions(tmp_path / "r.csv", exact_ids=exact),
        ItemTableOptions(tmp_path / "items.csv", exact_ids=exact),
    )
    return source.interactions["item_id"].to_list(), source.items["item_id"].to_list(), source.notes


@pytest.mark.parametrize(
    ("interactions", "items"),
    [
        (["101.0", "102.0"], ["101", "102"]),
        (["101", "102"], ["101.0", "102.0"]),
        ([" 101 ", "102"], ["101", " 102"]),
        (["101", "102"], ["101.0", "102.0", "A7"]),
        (["101.0", "102.0"], ["101.0", "102.0", "A7"]),
        (["101.0", "102", "A7"], ["101", "102.0", "A7", "B"]),
    ],
)
def test_ids_meet_where_only_blanks_and_points_differ(tmp_path, interactions, items):
    ours, theirs, notes = joined(tmp_path, interactions, items)
    assert set(ours) <= set(theirs)
    n = len(interactions)
    assert f"{n} of the {n} items of the interactions are in items.csv" in notes


@pytest.mark.parametrize(
    ("interactions", "items", "hint"),
    [
        (["00101"], ["101"], "'00101' is missing, there is '101'; they differ in leading zeros"),
        (["ABC"], ["abc"], "they differ in upper and lower case"),
        (["item_101"], ["101"], "they differ in letters around their digits"),
        (["101"], ["x"], "none of the 1 items of the interactions are in items.csv; '101' is missing, there is 'x'$"),
        (["101"], [], "nothing is there"),
    ],
)
def test_ids_that_never_meet_are_refused_with_an_example_of_each_side(tmp_path, interactions, items, hint):
    with pytest.raises(InputError, match=hint):
        joined(tmp_path, interactions, items)


def test_a_small_share_is_explained_and_exact_ids_stay_apart(tmp_path):
    few = meeting_note("items", pl.Series(["1", "2", "3", "04"]), pl.Series(["1", "4"]), "there")
    assert few == "1 of the 4 items are there; '2' is missing, there is '1'"
    with pytest.raises(InputError, match=r"they differ in a \.0 at the end"):
        joined(tmp_path, ["101.0"], ["101"], exact=True)


def test_pictures_are_named_by_ids_as_tables_hold_them(tmp_path):
    folder = tmp_path / "posters"
    folder.mkdir()
    (tmp_path / "r.csv").write_text("user,item\nu,1.0\nv,2\n")

    def pictured():
        return read(InteractionOptions(tmp_path / "r.csv"), images=folder)

    with pytest.raises(InputError, match="posters holds no pictures"):
        pictured()
    (folder / "poster-1.jpg").touch()
    with pytest.raises(InputError, match=r"none of the 2 items .*posters \(.*--image-column\); '1' is missing"):
        pictured()
    (folder / " 2.0 .jpg").touch()
    found = pictured()
    assert found.items["image"].to_list() == ["", str(folder / " 2.0 .jpg")]
    assert found.counts["pictures_without_an_item"] == 1


@pytest.mark.parametrize("written", ["1.2345678901234568e+19", "1.23E+12", "1e+16"])
def test_numbers_whose_digits_may_be_lost_are_refused_but_for_exact_ids(written):
    column = pl.Series("item", ["17", written])
    with pytest.raises(InputError, match=r"column 'item' holds numbers such as .* --ids exact"):
        read_ids(column)
    assert read_ids(column, exact=True).values.to_list() == ["17", written]
    assert as_ids(pl.Series("item", ["1E5", "A1", written])).to_list() == ["1E5", "A1", written]


def test_a_picture_whose_name_is_not_utf_8_belongs_to_no_item(tmp_path):
    for name in ("i1.png", os.fsdecode(b"\xe9.png")):
        (tmp_path / name).touch()
    found = with_pictures_from(pl.DataFrame({"item_id": ["i1"]}), tmp_path)
    assert found.items["image"].to_list() == [str(tmp_path / "i1.png")]
    assert found.counts == {"pictures_without_an_item": 1}
