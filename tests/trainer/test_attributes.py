import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from index.errors import InputError
from trainer.datasets.amazon import read as read_amazon
from trainer.datasets.attributes import as_attributes
from trainer.datasets.columns import as_numbers
from trainer.datasets.item_table import ItemTableOptions, read_item_table
from trainer.datasets.table import InteractionOptions, read
from trainer.datasets.table_attributes import AttributeOptions

HUGE = 2**70


@pytest.mark.parametrize("value", [math.inf, -math.inf, [1.0, math.nan], {"net": math.inf}, HUGE, b"x"])
def test_an_attribute_that_json_cannot_hold_is_left_out_counted_and_named_with_its_item(value):
    found = as_attributes(["a", "b"], [{"price": 1.0, "year": 1990}, {"price": value, "year": 1991}], "films.csv")
    assert found.column.to_list() == ['{"price": 1.0, "year": 1990}', '{"year": 1991}']
    assert found.counts == {"attribute_values_left_out": 1}
    assert found.notes[0].startswith("films.csv: 1 attribute values were left out; first price of item 'b', which is")


def test_what_is_unknown_is_left_out_without_a_word():
    found = as_attributes(["a"], [{"price": math.nan, "year": None}], "films.csv")
    assert (found.column.to_list(), found.counts, found.notes) == (["{}"], {}, ())


def test_a_parquet_column_of_any_type_becomes_plain_json(tmp_path):
    columns = {
        "when": [datetime(2019, 10, 1, tzinfo=UTC)],
        "day": [date(2019, 10, 1)],
        "at": [time(10, 0)],
        "long": [timedelta(seconds=5)],
        "price": [Decimal("1.50")],
        "sizes": [[1, None, 3]],
        "maker": [{"name": "x", "since": None}],
        "raw": [b"\x00"],
        "rate": [math.inf],
        "is_new": [True],
    }
    pl.DataFrame({"id": ["a"], **columns}).write_parquet(tmp_path / "items.parquet")
    chosen = AttributeOptions([*columns, "rate"])
    table = read_item_table(ItemTableOptions(tmp_path / "items.parquet", attributes=chosen))
    assert json.loads(table.items["attributes"][0]) == {
        "when": "2019-10-01T00:00:00Z",
        "day": "2019-10-01",
        "at": "10:00:00",
        "long": "0:00:05",
        "price": 1.5,
        "sizes": [1, None, 3],
        "maker": {"name": "x", "since": None},
        "is_new": True,
    }
    assert table.counts["attribute_values_left_out"] == 2
    types = {"when": "time", "day": "time", "at": "string", "long": "string", "price": "number", "is_new": "boolean"}
    assert table.attribute_types == types  # nested values are shown, and no filter can use them


def test_metadata_of_amazon_that_json_cannot_hold_is_left_out_and_named(tmp_path):
    (tmp_path / "ratings.csv").write_text("A0,B0,5.0,1\nA1,B0,5.0,2\n")
    record = r"{'asin': 'B0', 'price': 1e999, 'imUrl': b'x', 'brand': {1}, 'title': '\ud800', 'categories': 5}"
    (tmp_path / "meta.json").write_text(record)
    source = read_amazon(tmp_path / "ratings.csv", metadata=tmp_path / "meta.json", k=0)
    assert source.items.row(0, named=True)["attributes"] == "{}"
    assert source.items.row(0, named=True)["title"] == "?"
    assert "meta.json: 3 attribute values were left out; first brand of item 'B0'" in source.notes[0]


@pytest.mark.parametrize("rating", ["inf", "-inf", "1e39", "1e999"])
def test_a_rating_that_is_not_finite_is_refused(tmp_path, rating):
    (tmp_path / "log.csv").write_text(f"user,item,rating\nu,x,1\nu,y,{rating}\n")
    with pytest.raises(InputError, match=rf"column 'rating' has 1 values that are no finite numbers, first '{rating}'"):
        read(InteractionOptions(tmp_path / "log.csv"))


@pytest.mark.parametrize("limit", [math.nan, math.inf])
def test_a_threshold_that_is_not_finite_is_refused(tmp_path, limit):
    (tmp_path / "log.csv").write_text("user,item,rating\nu,x,1\n")
    with pytest.raises(InputError, match="--min-rating"):
        read(InteractionOptions(tmp_path / "log.csv", min_rating=limit))


def test_infinite_values_inside_lists_and_records_are_left_out_too(tmp_path):
    lines = ['{"item_id": "a", "d": {"size": [Infinity, 1.5], "x": "y"}}', '{"item_id": "b", "d": {"size": [2.5]}}']
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    table = read_item_table(ItemTableOptions(tmp_path / "items.jsonl", attributes=AttributeOptions(["d"])))
    assert table.items["attributes"].to_list() == ["{}", '{"d": {"size": [2.5], "x": null}}']
    assert "first d of item 'a', which is not finite" in table.notes[-1]


def test_a_rating_that_is_nan_is_unknown():
    assert as_numbers(pl.Series("rating", ["nan", "4.5"])).to_list() == [None, 4.5]
