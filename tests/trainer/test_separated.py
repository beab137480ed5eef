import csv
import io
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InputError
from trainer.datasets.reading import read_table
from trainer.datasets.separated import TextFormat, read_separated

EXAMPLES = int(os.environ.get("RECO_TABLE_EXAMPLES", "150"))
LETTERS = st.one_of(
    st.sampled_from(",;|:\t\"' \r\n.0x"), st.characters(exclude_categories=["Cs"], exclude_characters="\0")
)
VALUES = st.text(LETTERS, max_size=6)


def parsed(text, form=TextFormat(), usual=","):  # noqa: B008 - frozen
    return read_separated(Path("t.csv"), memoryview(text.encode()), form, usual)


def rows(text, **form):
    return parsed(text, TextFormat(**form)).frame.fill_null("").rows()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    table=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1)
    ),
    delimiter=st.sampled_from(",;|\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    named=st.booleans(),
)
def test_a_table_that_pythons_csv_writes_is_read_as_pythons_csv_reads_it(table, delimiter, quoting, end, named):
    header = [f"column_{number}" for number in range(len(table[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows([header, *table])
    read_back = list(csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter))
    if {len(row) for row in read_back if row} != {len(header)}:
        return  # before Python 3.13 a lone \r is written without quotes, and read by none as it was written
    expected = [tuple(row) for row in read_back[1:] if any(row)]
    assert rows(text.getvalue(), delimiter=delimiter if named else None) == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(text=st.text(st.sampled_from('a",\n'), max_size=30))
def test_any_quotes_are_read_as_pythons_csv_reads_them_or_refused(text):
    with suppress(InputError):
        found = rows("x,y\n" + text, delimiter=",")
        assert found == [tuple(row) for row in csv.reader(io.StringIO("x,y\n" + text, newline="")) if any(row)][1:]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('wide 5" screen', 'wide 5" screen'),
        ('"Best" chair', "Best chair"),
        ('"Best" 5" chair', 'Best 5" chair'),
        ('"a, ""b""\nc"', 'a, "b"\nc'),
        ("O'Neill", "O'Neill"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_quote_inside_a_value_is_a_letter(cell, value, delimiter):
    text = f"item{delimiter}title{delimiter}last\ni{delimiter}{cell}{delimiter}z\nj{delimiter}b{delimiter}z\n"
    assert rows(text) == [("i", value, "z"), ("j", "b", "z")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\nc,"d\ne,f\n', 2),
        ('a,b\n\n\nc,d\ne,"f\ng,5" h\n', 5),  # would swallow a line
        ("a,b\nc,d,e\n", 2),
        ('a,b\n"c\nd",e\nf\n', 4),
        ("a,b\r\nc,d\r\n\r\ne\r\n", 4),
        ("a,b\rc,d\re,f,g\r", 3),
        ("a,b\nc,d\nc,d,\nc,d\n", 3),
        ("a;b\nc;d\nc;d;\n", 3),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text, line):
    with pytest.raises(InputError, match=rf"t\.csv, line {line}: "):
        parsed(text)


def test_quotes_can_be_letters_everywhere():
    assert rows('a\tb\n"c\t5" d\n', quotes=False) == [('"c', '5" d')]


def test_blank_lines_are_no_rows():
    assert rows("\n\na,b\n\nc,d\n  \n,\ne,f\n\n\n") == [("c", "d"), ("e", "f")]
    assert rows("a,b") == rows("a,b\n") == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("usual", [",", "\t"])
def test_the_delimiter_is_found(delimiter, usual):
    read = parsed(delimiter.join("ab") + "\n" + delimiter.join(["c", "d: e"]) + "\n", usual=usual)
    assert (read.delimiter, read.frame.rows()) == (delimiter, [("c", "d: e")])


def test_the_delimiter_can_be_told_by_the_file_as_excel_does():
    assert parsed("sep=~\r\na~b\r\nc~d\r\n").frame.rows() == [("c", "d")]
    with pytest.raises(InputError, match="line 3: 3 values"):
        parsed("sep=;\na;b\nc;d;e\n")


def test_the_delimiter_can_be_any_text():
    assert rows("a b\nc d\n", delimiter=" ") == rows("a||b\nc||d\n", delimiter="||") == [("c", "d")]
    assert rows("a\tb\nc\td\n", delimiter="tab") == rows("a¦b\nc¦d\n", delimiter="¦") == [("c", "d")]
    with pytest.raises(InputError, match="--delimiter"):
        rows("a,b\n", delimiter="\n")


def test_a_file_without_a_header_is_given_names():
    text = "1::10::5\n2::20::4\n"
    named = parsed(text, TextFormat(columns=("user", "item", "rating"))).frame
    assert named.to_dicts()[1] == {"user": "2", "item": "20", "rating": "4"}
    with pytest.raises(InputError, match="3 columns, but --columns names 2"):
        parsed(text, TextFormat(columns=("user", "item")))


def test_column_names_lose_blanks_and_types_and_are_each_one_column():
    assert parsed(" user , item\n1,2\n").frame.columns == ["user", "item"]
    assert parsed("user_id:token\titem_id:token\tt:float\n1\t2\t3\n").frame.columns == ["user_id", "item_id", "t"]
    assert parsed("user:token\tb:c\n1\t2\n").frame.columns == ["user:token", "b:c"]
    assert parsed("a,b,,\n1,2,,\n").frame.columns == ["a", "b", "column 3", "column 4"]
    with pytest.raises(InputError, match=r"more than one column 'a'.*--columns"):
        parsed("a,a\n1,2\n")
    with pytest.raises(InputError, match="zero bytes"):
        parsed("\0\0\0\n")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "dat", "data", "inter", "user", "item", "base"])
def test_the_suffix_decides_nothing_for_good(tmp_path, suffix):
    (tmp_path / f"t.{suffix}").write_text("user;item\nu;i\n")
    table = read_table(tmp_path / f"t.{suffix}")
    assert table.frame.rows() == [("u", "i")]
    assert table.note == f"t.{suffix}: separated by semicolons (--delimiter), utf-8 (--encoding)"


def test_a_row_may_be_longer_than_a_block_of_the_parser_and_an_id_of_any_length():
    long = "x" * 2_000_000
    assert rows(f"a,b\n{long},c\n") == [(long, "c")]
