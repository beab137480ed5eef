import gzip
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from index.errors import InputError
from trainer.data import Recipe, load_dataset
from trainer.datasets.item_table import ItemTableOptions
from trainer.datasets.table import InteractionOptions, read
from trainer.datasets.table_attributes import AttributeOptions
from trainer.prepare import prepare_dataset

RATINGS = """userId,movieId,rating,timestamp
u,x,5,1000
u,y,1,900
v,x,4,800
v,x,3,700
,x,5,600
"""
FILMS = """id,name,genres,overview,year,poster
x,Heat,Crime,"A thief, a detective",1995,heat.jpg
y,Alien,,,1979,
z,Jaws,Thriller,A shark,,gone.jpg
"""


@pytest.fixture
def ratings(tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    return tmp_path / "ratings.csv"


@pytest.fixture
def films(tmp_path):
    (tmp_path / "films.csv").write_text(FILMS)
    return tmp_path / "films.csv"


def pairs(source):
    return source.interactions.select("user_id", "item_id").rows()


def test_columns_are_found_by_their_usual_names_and_the_finding_is_told(ratings):
    source = read(InteractionOptions(ratings))
    assert source.notes == (
        "ratings.csv: separated by commas (--delimiter), utf-8 (--encoding)",
        "ratings.csv: user: userId, item: movieId, rating: rating, time: timestamp"
        " (--user-column, --item-column, --rating-column, --time-column)",
        "ids: userId text, movieId text (--ids)",
        "timestamp: read as seconds since 1970, told by size (--time-unit overrides)",
        "times from 1970-01-01 to 1970-01-01, 0 interactions without",
    )


def test_interactions_come_in_time_order_without_repeats_and_rows_without_ids(ratings):
    source = read(InteractionOptions(ratings))
    assert source.interactions.rows() == [("v", "x", 3.0, 700), ("u", "y", 1.0, 900), ("u", "x", 5.0, 1000)]
    assert source.counts == {
        "interactions_read": 5,
        "dropped_without_user_or_item_id": 1,
        "dropped_repeats_of_a_user_and_item": 1,
    }


def test_the_rating_threshold_counts_what_it_drops(ratings):
    source = read(InteractionOptions(ratings, min_rating=4))
    assert pairs(source) == [("v", "x"), ("u", "x")]
    assert source.counts["dropped_rated_under_4"] == 2


def write_csv(table, file):
    table.write_csv(file)


def write_tsv(table, file):
    table.write_csv(file, separator="\t")


def write_gz(table, file):
    file.write_bytes(gzip.compress(table.write_csv().encode()))


def write_jsonl_gz(table, file):
    file.write_bytes(gzip.compress(table.write_ndjson().encode()))


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        ("csv", write_csv),
        ("tsv", write_tsv),
        ("csv.gz", write_gz),
        ("jsonl", pl.DataFrame.write_ndjson),
        ("jsonl.gz", write_jsonl_gz),
        ("parquet", pl.DataFrame.write_parquet),
    ],
)
def test_every_kind_of_file_says_the_same(tmp_path, suffix, write):
    table = pl.DataFrame({"user": [1, 2, 1], "item": ["a/b", 'c "d"', "\N{PARTY POPPER}"], "time": [3, 2, 1]})
    write(table, tmp_path / f"log.{suffix}")
    source = read(InteractionOptions(tmp_path / f"log.{suffix}"))
    assert source.name == "log"
    assert source.interactions["rating"].to_list() == [None] * 3
    assert source.interactions.drop("rating").rows() == [
        ("1", "\N{PARTY POPPER}", 1),
        ("2", 'c "d"', 2),
        ("1", "a/b", 3),
    ]


def test_a_column_can_be_named_as_its_header_has_it(tmp_path):
    (tmp_path / "a.inter").write_text("who:token\twhat:token\nu\tx\n")
    options = InteractionOptions(tmp_path / "a.inter", user_column="who:token", item_column=" what")
    assert pairs(read(options)) == [("u", "x")]


@pytest.mark.parametrize(("dtype", "refused"), [(pl.Categorical, False), (pl.Binary, True)])
def test_ratings_are_numbers_of_any_column_that_holds_them(tmp_path, dtype, refused):
    ratings = pl.Series(["5", "3"]).cast(dtype)
    pl.DataFrame({"user": ["u", "v"], "item": ["x", "y"], "rating": ratings}).write_parquet(tmp_path / "a.parquet")
    if refused:
        with pytest.raises(InputError, match=r"column 'rating' holds .*, expected numbers"):
            read(InteractionOptions(tmp_path / "a.parquet"))
    else:
        assert read(InteractionOptions(tmp_path / "a.parquet")).interactions["rating"].to_list() == [5, 3]


def test_ids_keep_their_zeros_and_lose_the_point_of_a_float(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\n007,1e3\n7,1.0\n")
    pl.DataFrame({"user": [7.0, None], "item": [1, 2]}).write_parquet(tmp_path / "b.parquet")
    assert pairs(read(InteractionOptions(tmp_path / "a.csv"))) == [("007", "1e3"), ("7", "1.0")]
    assert pairs(read(InteractionOptions(tmp_path / "b.parquet"))) == [("7", "1")]


def test_items_bring_words_attributes_and_pictures(ratings, films, tmp_path):
    (tmp_path / "posters").mkdir()
    for name in ("x.PNG", "y.jpg", "y.webp", "elsewhere.jpg", "notes.txt"):
        (tmp_path / "posters" / name).touch()
    options = ItemTableOptions(films, attributes=AttributeOptions(["year"]), images=tmp_path / "posters")
    source = read(InteractionOptions(ratings), options)
    posters = tmp_path / "posters"
    assert source.items.rows() == [
        ("x", "Heat", "Crime", "Heat Crime A thief, a detective", '{"year": 1995}', str(posters / "x.PNG")),
        ("y", "Alien", "", "Alien", '{"year": 1979}', str(posters / "y.jpg")),
        ("z", "Jaws", "Thriller", "Jaws Thriller A shark", "{}", ""),
    ]
    assert source.counts["pictures_without_an_item"] == 1
    assert source.notes[-4:] == (
        "2 of the 2 items of the interactions are in films.csv",
        "films.csv: separated by commas (--items-delimiter), utf-8 (--items-encoding)",
        "films.csv: item id: id (--id-column), text (--ids), title: name (--title-column),"
        " category: genres (--category-column), text: name + genres + overview (--text-columns)",
        f"2 of the 3 items are among the pictures in {posters} (named by item id, else by --image-column)",
    )


def test_pictures_can_be_named_by_a_column(ratings, films, tmp_path):
    (tmp_path / "heat.jpg").touch()
    source = read(
        InteractionOptions(ratings), ItemTableOptions(films, image_column="poster", text_columns=["overview"])
    )
    assert source.items["image"].to_list() == [str(tmp_path / "heat.jpg"), "", ""]
    assert source.items["text"].to_list() == ["A thief, a detective", "", "A shark"]
    assert source.counts["named_pictures_not_found"] == 1


def test_an_id_never_becomes_a_path(tmp_path):
    (tmp_path / "posters").mkdir()
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "posters" / "y.jpg").touch()
    (tmp_path / "log.csv").write_text(f"user,item\nu,../secret\nu,{'x' * 10_000}\nu,y\n")
    source = read(InteractionOptions(tmp_path / "log.csv"), images=tmp_path / "posters")
    assert source.items["image"].to_list() == ["", "", str(tmp_path / "posters" / "y.jpg")]


def test_lists_and_records_in_jsonl_become_words(tmp_path):
    records = [
        {"id": 1, "title": "a", "categories": [["b", "c"], ["d"]], "summary": {"short": "e", "long": None}},
        {"id": 2, "categories": []},
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    (tmp_path / "log.csv").write_text("user,item\nu,1\n")
    source = read(InteractionOptions(tmp_path / "log.csv"), ItemTableOptions(tmp_path / "items.jsonl"))
    assert source.items.select("item_id", "category", "text").rows() == [("1", "b c d", "a b c d e"), ("2", "", "")]


def test_attributes_leave_out_what_is_unknown(tmp_path):
    table = pl.DataFrame({"id": ["x", "y"], "price": [1.5, float("nan")], "since": [None, datetime(2014, 3, 1).date()]})
    table.write_parquet(tmp_path / "items.parquet")
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbfuser,item\r\nu,x\r\n")  # as spreadsheets write it
    options = ItemTableOptions(tmp_path / "items.parquet", attributes=AttributeOptions(["price", "since"]))
    source = read(InteractionOptions(tmp_path / "log.csv"), options)
    assert source.items["attributes"].to_list() == ['{"price": 1.5}', '{"since": "2014-03-01"}']


def test_ready_features_follow_the_rows_of_the_item_table(ratings, films, tmp_path):
    features = {"text": np.array([[1, 1], [0, 0], [3, 1]], np.float16)}
    source = read(InteractionOptions(ratings), ItemTableOptions(films), features=features)
    info = prepare_dataset(source, tmp_path / "out", Recipe())
    data = load_dataset(tmp_path / "out")
    assert data.item_ids == ["x", "y", "z"]
    assert data.features["text"].tolist() == [[1, 1], [2, 1], [3, 1]]
    assert info.counts["items_with_the_mean_text_vector"] == 1


def test_ready_features_without_an_item_table_are_refused(ratings):
    with pytest.raises(InputError, match="need an item table"):
        read(InteractionOptions(ratings), features={"text": np.ones((2, 2), np.float32)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "no such file"),
        ("log.xlsx", b"x", r"expected a name that ends in \.csv"),
        ("log.csv", b"", "has no rows, not even a header"),
        ("log.csv", b"user,item\nu,x,surplus\n", "line 2: 3 values, but the first line has 2; .*--delimiter"),
        ("log.csv", b"user,item\n\xff\xfe,x\n", "line 2: byte 0xff is not UTF-8"),
        ("log.jsonl", b"{bad\n", "cannot be read as a table of JSON objects: line 1"),
        ("log.parquet", b"PAR1", "cannot be read as a parquet table"),
        ("log.csv", b"who,what\nu,x\n", "which column is the user.*--user-column; it has: who, what"),
        ("log.csv", b"user,what\nu,x\n", "which column is the item.*--item-column; it has: user, what"),
        ("log.csv", b"user item\nu x\n", "separate no columns there: name the separator with --delimiter"),
        ("u.data", b"1\t2\t5\n1\t3\t4\n", "if its first line is no header, name the columns with --columns"),
        (
            "log.csv",
            b"user,item,rating\nu,x,good\n",
            "column 'rating' has 1 values that are no finite numbers, first 'good'",
        ),
        (
            "log.csv",
            b"user,item,date\nu,x,03/01/2014\n",
            "first '03/01/2014'; it may begin with the day.*--time-format",
        ),
        ("log.jsonl", b'{"user":["a"],"item":"x"}\n', "cannot be an id"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(InteractionOptions(tmp_path / name))


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        ({"user_column": "nobody"}, {}, "no column 'nobody'.*it has: userId, movieId, rating, timestamp"),
        ({"time_column": "never"}, {}, "no column 'never' \\(--time-column"),
        ({}, {"id_column": "asin"}, "no column 'asin'.*it has: id, name, genres, overview, year, poster"),
        ({}, {"text_columns": ["plot"]}, "no column 'plot' \\(--text-columns"),
        ({}, {"attributes": AttributeOptions(["price"])}, "no column 'price'"),
        ({}, {"id_column": "genres"}, "1 of 3 items have no id in column 'genres'"),
        ({}, {"images": Path("nowhere")}, "no such folder of images: nowhere"),
    ],
)
def test_options_that_do_not_fit_the_tables_are_refused(ratings, films, interactions, items, message):
    with pytest.raises(InputError, match=message):
        read(InteractionOptions(ratings, **interactions), ItemTableOptions(films, **items))


def test_a_threshold_without_ratings_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\nu,x\n")
    with pytest.raises(InputError, match="--min-rating needs a rating column"):
        read(InteractionOptions(tmp_path / "log.csv", min_rating=3))
