"""Which columns of an item table are attributes, and of which types."""

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from index.attribute_types import inferred_types
from index.errors import InputError
from trainer.data import load_dataset, read_info
from trainer.datasets.cli import prepare_app
from trainer.datasets.item_table import ItemTableOptions, read_item_table
from trainer.datasets.table_attributes import AttributeOptions

HEADER = "sku,name,genres,brand,overview,poster,price,colours,released,in_stock"
ROWS = [
    f"007,Heat,Crime|Drama,Ono,{'A thief. ' * 10},heat.jpg,12.50,red|blue,1995-12-15,yes",
    f"008,Alien,Horror,Ono,{'A ship. ' * 10},alien.jpg,7,,1979-05-25,no",
    f"009,Jaws,,Sharp,{'A shark. ' * 10},jaws.jpg,,red,,",
]


@pytest.fixture
def films(tmp_path):
    (tmp_path / "items.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    for name in ("heat", "alien", "jaws"):
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "log.csv").write_text("user,item\nu,007\nu,008\nv,009\n")
    return tmp_path / "items.csv"


def read(file, *, image_column="poster", **options):
    return read_item_table(ItemTableOptions(file, image_column=image_column, attributes=AttributeOptions(**options)))


def records(table):
    return [json.loads(text) for text in table.items["attributes"]]


def test_what_is_nothing_else_is_an_attribute_with_the_type_of_its_values(films):
    table = read(films)
    assert records(table) == [
        {"brand": "Ono", "price": 12.5, "colours": "red|blue", "released": "1995-12-15", "in_stock": True},
        {"brand": "Ono", "price": 7.0, "released": "1979-05-25", "in_stock": False},
        {"brand": "Sharp", "colours": "red"},
    ]
    assert table.attribute_types == {
        "brand": "string",  # a text column, but short
        "price": "number",
        "colours": "string",
        "released": "time",
        "in_stock": "boolean",
    }


def test_a_list_is_a_list_where_it_is_named_and_a_category_that_is_one_shows_its_first(films):
    table = read(films, list_columns=["colours", "genres"])
    assert [record.get("colours") for record in records(table)] == [["red", "blue"], None, ["red"]]
    assert [record.get("categories") for record in records(table)] == [["Crime", "Drama"], ["Horror"], None]
    assert table.items["category"].to_list() == ["Crime", "Horror", ""]
    assert table.items["text"][0].startswith("Heat Ono Crime|Drama A thief.")
    assert (table.attribute_types["colours"], table.attribute_types["categories"]) == ("list", "list")


def test_named_columns_alone_are_attributes_or_none(films):
    plot = ("A ship. " * 10).strip()
    assert records(read(films, columns=["price", "overview"]))[1] == {"price": 7.0, "overview": plot}
    assert records(read(films, columns=())) == [{}, {}, {}]


def test_a_declared_type_holds_also_where_the_values_look_like_another(films):
    table = read(films, types={"price": "string", "released": "string"})
    assert records(table)[0] | {"price": "12.50", "released": "1995-12-15"} == records(table)[0]
    assert (table.attribute_types["price"], table.attribute_types["released"]) == ("string", "string")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"types": {"brand": "number"}}, "attribute 'brand' is declared as number, but 3 of 3 values are none"),
        ({"types": {"weight": "number"}}, r"no column 'weight' \(--attribute-types\); it has: sku, name"),
        ({"list_columns": ["weight"]}, r"no column 'weight' \(--list-columns\)"),
        ({"columns": ["price"], "list_columns": ["colours"]}, "'colours' has a declared type but is no attribute"),
        ({"types": {"overview": "string"}}, "'overview' has a declared type but is no attribute"),
        ({"types": {"genres": "string"}}, "'genres' is the category, which is text, or a list"),
        ({"types": {"colours": "string"}, "list_columns": ["colours"]}, "a list by --list-columns and a string by"),
    ],
)
def test_what_cannot_be_meant_is_refused(films, options, said):
    with pytest.raises(InputError, match=said):
        read(films, **options)


def test_json_and_parquet_keep_their_lists_numbers_and_texts(tmp_path):
    items = [
        {"item_id": "a", "code": "12", "price": 3, "colours": ["red"], "genres": ["x", "y"], "new": True},
        {"item_id": "b", "code": "13", "price": 4.5, "colours": None, "genres": ["z"], "new": None},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    pl.DataFrame(items, strict=False).write_parquet(tmp_path / "items.parquet")
    for name in ("items.jsonl", "items.parquet"):
        table = read(tmp_path / name, image_column=None, list_columns=["genres"])
        assert records(table) == [
            {"code": "12", "price": 3.0, "colours": ["red"], "new": True, "categories": ["x", "y"]},
            {"code": "13", "price": 4.5, "categories": ["z"]},
        ]
        assert table.attribute_types == inferred_types(records(table))


def prepare(tmp_path, *options):
    fixed = ["table", tmp_path / "log.csv", "--items", tmp_path / "items.csv", "--out", tmp_path / "out"]
    without = ["--k-core", 0, "--text-encoder", "none", "--image-encoder", "none"]
    arguments = [str(argument) for argument in [*fixed, *without, *options]]
    result = CliRunner(env={"COLUMNS": "120"}).invoke(prepare_app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_prepare_prints_and_records_types_and_declarations(films, tmp_path):
    told = prepare(
        tmp_path,
        *("--list-columns", "colours", "--attribute-types", "price=string,released=time"),
        *("--image-column", "poster"),
    )
    cells = {line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:5]] for line in told.splitlines()
             if line.startswith("│")}  # fmt: skip
    assert cells["colours"] == ["list", "66.7%", '["red", "blue"]']
    assert cells["price"] == ["string", "66.7%", '"12.50"']
    types = {"brand": "string", "price": "string", "colours": "list", "released": "time", "in_stock": "boolean"}
    assert read_info(tmp_path / "out").attribute_types == types
    assert load_dataset(tmp_path / "out").attribute_types == types
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    del info["attribute_types"]  # as an older version wrote it
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(info))
    assert load_dataset(tmp_path / "out").attribute_types == {}


def test_an_attribute_of_several_types_is_shown_as_such(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\nu,1\n")
    (tmp_path / "items.csv").write_text('[{"item": 1, "size": {"eu": 38}, "plain": "x"}]')
    told = prepare(tmp_path)
    assert "several: shown, no filter" in told
    assert read_info(tmp_path / "out").attribute_types == {"plain": "string"}


@pytest.mark.parametrize("given", ["price", "price=money", "=number"])
def test_a_declaration_that_is_none_is_refused(films, tmp_path, given):
    with pytest.raises(InputError, match="expected NAME=TYPE, TYPE of string, list, number, boolean, time"):
        prepare(tmp_path, "--attribute-types", given)
    assert not (tmp_path / "out").exists()


def test_none_is_no_attribute(films, tmp_path):
    prepare(tmp_path, "--attribute-columns", "none")
    assert read_info(tmp_path / "out").attribute_types == {}
