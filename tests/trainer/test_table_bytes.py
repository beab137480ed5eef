"""Compression and characters of input tables."""

import bz2
import gzip
import json

import polars as pl
import pyarrow as pa
import pytest

from index.errors import InputError
from trainer.datasets.amazon import read as read_amazon
from trainer.datasets.reading import read_table
from trainer.datasets.separated import TextFormat

TEXT = "user,item\nüser,項目\nu2,i2\n"
PLAIN = "user,item\nu1,i1\nu2,i2\n"
ZIPPED = gzip.compress(PLAIN.encode(), mtime=0)


def users(file, **form):
    return read_table(file, TextFormat(**form)).frame["user"].to_list()


@pytest.mark.parametrize("text", [TEXT, PLAIN])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_is_recognised_with_and_without_a_mark(tmp_path, encoding, text):
    first = text.split("\n")[1].split(",")[0]
    line = json.dumps({"user": first}, ensure_ascii=False) + "\n"
    for name, content in (("t.csv", text), ("t.tsv", text.replace(",", "\t")), ("t.jsonl", line)):
        (tmp_path / name).write_bytes(content.encode(encoding))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode(encoding)))
        assert users(tmp_path / name)[0] == users(tmp_path / f"{name}.gz")[0] == first


def test_other_encodings_are_refused_with_the_line_and_the_option_that_reads_them(tmp_path):
    file = tmp_path / "t.csv"
    file.write_bytes("user,item\nu,i\nAmélie,x\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"line 3: byte 0xe9 is not UTF-8; in cp1252 .*'Amélie,x'.*--encoding cp1252"):
        users(file)
    assert users(file, encoding="cp1252") == users(file, fallback_encoding="latin-1") == ["u", "Amélie"]
    file.write_text("user,item\nAmélie,x\n", encoding="utf-8")
    assert users(file, fallback_encoding="latin-1") == ["Amélie"]
    file.write_bytes("user,item\n用户,x\n".encode("gbk"))
    assert users(file, encoding="gbk") == ["用户"]


def test_an_encoding_that_is_none_or_another_is_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(TEXT, encoding="utf-8")
    for encoding in ("klingon", "hex"):
        with pytest.raises(InputError, match=f"no such encoding: '{encoding}'"):
            users(file, encoding=encoding)
    with pytest.raises(InputError, match=r"is not ascii throughout, after line 1"):
        users(file, encoding="ascii")


def test_an_invalid_byte_is_found_across_the_blocks_that_are_read(tmp_path):
    file = tmp_path / "t.csv"
    lines = b"user,item\n" + b"u,\xc3\xa9\n" * 300_000
    file.write_bytes(lines + b"u,\xc3(\n")
    with pytest.raises(InputError, match="line 300002: byte 0xc3"):
        users(file)
    file.write_bytes(lines[:-1] + b"\xc3")
    with pytest.raises(InputError, match="line 300001: byte 0xc3"):
        users(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", ZIPPED),
        ("t.csv.gz", gzip.compress(b"user,item\nu1,", mtime=0) + gzip.compress(b"i1\nu2,i2\n", mtime=0)),
        ("t.csv", ZIPPED),
        ("t.csv.bz2", bz2.compress(PLAIN.encode())),
        ("t.csv.zst", pa.Codec("zstd").compress(PLAIN.encode()).to_pybytes()),
    ],
)
def test_compressed_tables_are_read_whole(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert users(tmp_path / name) == ["u1", "u2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv.gz", ZIPPED[:-9], "damaged or cut short"),
        ("t.csv.gz", ZIPPED[:5], "damaged or cut short"),
        ("t.csv.gz", ZIPPED[:-6] + b"x" + ZIPPED[-5:], "damaged or cut short"),
        ("t.csv.gz", ZIPPED + b"garbage", "damaged or cut short"),
        ("t.jsonl.gz", ZIPPED[:-9], "damaged or cut short"),
        ("t.csv.gz", PLAIN.encode(), "is not gzip-compressed"),
        ("t.csv.gz", b"", "is not gzip-compressed"),
        ("t.csv.zst", ZIPPED, "is not zstd-compressed"),
        ("t.csv.bz2", bz2.compress(PLAIN.encode())[:-4], "damaged or cut short"),
        ("t.csv", b"PK\x03\x04rest", "zip archive"),
        ("t.csv.xz", b"\xfd7zXZ\0rest", "xz"),
        ("t.parquet", b"PAR1", "cannot be read as a parquet table"),
    ],
)
def test_damaged_and_other_content_is_refused_with_the_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} .*{message}"):
        read_table(tmp_path / name)


def test_damaged_amazon_dumps_are_refused_with_the_file(tmp_path):
    whole = gzip.compress(b'{"reviewerID": "A", "asin": "B", "overall": 5.0, "unixReviewTime": 1}\n')
    (tmp_path / "reviews.json.gz").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"reviews\.json\.gz is damaged"):
        read_amazon(tmp_path / "reviews.json.gz")
    (tmp_path / "reviews.json.gz").write_bytes(whole)
    (tmp_path / "meta.json.gz").write_bytes(whole[:12] + b"\xff\xff" + whole[14:])
    with pytest.raises(InputError, match=r"meta\.json\.gz is cut short or not gzipped"):
        read_amazon(tmp_path / "reviews.json.gz", metadata=tmp_path / "meta.json.gz", k=0)


def test_json_takes_arrays_blank_lines_other_keys_and_what_python_writes_for_no_number(tmp_path):
    lines = (
        '\ufeff\n{"user": 1, "x": NaN, "t": "NaN, -Infinity \\" NaN"}\n\r\n{"user": 2.0, "x": -Infinity, "N": [NaN]}\n'
    )
    (tmp_path / "t.jsonl").write_text(lines, encoding="utf-8", newline="")
    table = read_table(tmp_path / "t.jsonl").frame
    assert table["user"].to_list() == [1, 2]
    assert table["x"].to_list() == [None, float("-inf")]
    assert table["t"].to_list() == ['NaN, -Infinity " NaN', None]
    (tmp_path / "t.json").write_text('[{"user": "a"},\n {"user": "b", "y": NaN}]')
    assert users(tmp_path / "t.json") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"user": 1}\n{"user": 2,}\n', "line 2, column 1[0-9]: "),
        ('{"user": 1}\n\n["u"]\n', "line 3: expected an object, found list"),
        ('[{"user": 1},', "cannot be read as a table of JSON objects"),
        ("", "cannot be read as a table of JSON objects"),
    ],
)
def test_bad_json_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.jsonl")


def test_parquet_and_json_are_known_by_their_content(tmp_path):
    pl.DataFrame({"user": ["u"]}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.parquet").read_bytes())
    assert users(tmp_path / "t.csv") == ["u"]
    (tmp_path / "t.txt").write_text('{"user": "v"}\n')
    assert users(tmp_path / "t.txt") == ["v"]
    for name in ("t.parquet", "t.txt"):
        with pytest.raises(InputError, match="--columns is for text without a header"):
            users(tmp_path / name, columns=("user",))
