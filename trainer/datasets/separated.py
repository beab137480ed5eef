"""Reads separated values (csv, tsv, ...): quotes as Python's csv and spreadsheets take them, all values as strings."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from index.errors import InputError
from trainer.datasets.input_bytes import line_at

DELIMITERS = (",", "\t", ";", "::", "|")  # those that are looked for
NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "spaces"}
SPELLED = {"tab": "\t", r"\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
UNUSED = [bytes([code]) for code in (31, 30, 29, 28, 1, 2, 3, 4)]  # stand in for a delimiter of several bytes
SAMPLE = 1 << 17  # bytes that the delimiter is found in; Python's csv takes no longer values
SAMPLE_ROWS = 50
BLOCK = 1 << 25  # bytes; no row may be larger
TYPED = re.compile(r"(.+):(?:token|float|token_seq|float_seq)")  # a column's name in RecBole's files


@dataclass(frozen=True)
class TextFormat:
    """How a table of text is written, where a person says so; what is None or empty is found out."""

    delimiter: str | None = None
    encoding: str | None = None
    columns: Sequence[str] = ()
    """Names for the columns of a file without a header."""
    quotes: bool = True
    """A quote at the beginning of a value encloses it; else it is a letter."""
    fallback_encoding: str | None = None
    options: str = "--"
    """How the names of the options for this table begin."""


FOUND_OUT = TextFormat()


@dataclass(frozen=True)
class Separated:
    """A table, and the delimiter that its values were separated by."""

    frame: pl.DataFrame
    delimiter: str


def read_separated(file: Path, text: memoryview, form: TextFormat, usual: str) -> Separated:
    """Parse UTF-8 text; the `usual` delimiter is taken where it fits, else another that does.

    Blank lines are no rows; empty values are null. InputError, with the line: a row of another width than the first,
    a quote that is never closed.
    """
    named = form.delimiter and SPELLED.get(form.delimiter, form.delimiter)
    if told := re.match(rb"sep=([ -~\t])(?=\r?\n)", text):  # a line before the header, for Excel
        named, text = named or bytes(told[1]).decode(), text[told.end() :]
    delimiter = named or _found_delimiter(text, usual, form.quotes)
    quotes = form.quotes and len(delimiter.encode()) == 1
    if re.search(r'["\r\n]', delimiter):
        raise InputError(
            f"{form.options}delimiter {form.delimiter!r}: expected other characters than quotes and line ends"
        )
    single, text = _single_byte(file, text, delimiter)
    quotes = quotes and re.search(b'"', text) is not None
    if quotes and (bad := _unclosed_quote(text, single)) is not None:
        raise InputError(
            f"{file}, line {line_at(text, bad)}: a quote that begins a value is not closed at the value's end;"
            f" double the quotes inside, or {form.options.replace('--', '--no-')}quotes takes quotes for letters"
        )
    first = _sample_rows(text, single.decode(), quotes)[:1]
    if not first:
        raise InputError(f"{file} has no rows, not even a header")
    names = _column_names(file, form.columns or first[0], form)
    if len(names) != len(first[0]):
        raise InputError(f"{file} has {len(first[0])} columns, but {form.options}columns names {len(names)}")
    parse = pa_csv.ParseOptions(
        delimiter=single.decode(), quote_char='"' if quotes else False, newlines_in_values=quotes
    )
    rows = _without_blank_rows(_parsed(file, text, names, parse, form.options))
    return Separated(rows if form.columns else rows[1:], delimiter)


def _found_delimiter(text: memoryview, usual: str, quotes: bool) -> str:
    """The one that divides most rows of a sample into as many values as the first row, at least two."""
    shares = {}
    for delimiter in dict.fromkeys((usual, *DELIMITERS)):
        widths = [len(row) for row in _sample_rows(text, delimiter, quotes)]
        shares[delimiter] = widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0.0
    best = max(shares, key=lambda delimiter: shares[delimiter])
    return best if shares[best] > 0.5 else usual


def _sample_rows(text: memoryview, delimiter: str, quotes: bool) -> list[list[str]]:
    sample = bytes(text[:SAMPLE]).decode(errors="ignore")
    if len(delimiter) > 1:
        sample, delimiter = sample.replace(delimiter, "\x1f"), "\x1f"
        quotes = False
    sampled = io.StringIO(sample, newline="")
    lines = csv.reader(sampled, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)
    rows = [row for row, _ in zip(lines, range(SAMPLE_ROWS), strict=False) if "".join(row)]
    return rows[:-1] if len(text) > SAMPLE and len(rows) > 1 else rows  # the last may be cut


def _single_byte(file: Path, text: memoryview, delimiter: str) -> tuple[bytes, memoryview]:
    """The delimiter, and the text with a byte that it does not use in place of a longer delimiter."""
    encoded = delimiter.encode()
    if len(encoded) == 1:
        return encoded, text
    unused = next((byte for byte in UNUSED if re.search(re.escape(byte), text) is None), None)
    if unused is None:
        raise InputError(f"{file} holds control characters; it cannot be divided at {delimiter!r}")
    return unused, memoryview(bytes(text).replace(encoded, unused))


def _unclosed_quote(text: memoryview, delimiter: bytes) -> int | None:
    """The offset of the first value that begins with a quote and has no end.

    A closed value may be followed by letters, which belong to it, but only on the line where it began: a quote that
    was meant as a letter would swallow lines until the next one.
    """
    stop = b"[" + re.escape(delimiter) + rb"\r\n]"
    inside_a_value = rb"(?<!" + stop + rb')(?<!\A)"'
    on_one_line = rb'"(?:[^"\r\n]++|"")*+"'
    to_the_end = rb'"(?:[^"]++|"")*+"(?=' + stop + rb"|\Z)"
    well_formed = re.match(rb'(?:[^"]++|' + b"|".join((inside_a_value, on_one_line, to_the_end)) + rb")*+", text)
    end = well_formed.end() if well_formed else 0
    return end if end < len(text) else None


def _column_names(file: Path, header: Sequence[str], form: TextFormat) -> list[str]:
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    if any("\0" in name for name in names):
        raise InputError(
            f"{file}: the first line holds zero bytes; it is damaged, or {form.options}encoding is another"
        )
    typed = [TYPED.fullmatch(name) for name in names]
    if all(typed):
        names = [match[1] for match in typed if match]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{file} has more than one column {', '.join(map(repr, twice))}; if its first line is no header, name the"
            f" columns with {form.options}columns"
        )
    return names


def _parsed(file: Path, text: memoryview, names: list[str], parse: pa_csv.ParseOptions, options: str) -> pl.DataFrame:
    bad: list[Any] = []

    def on_bad_row(row: Any) -> str:
        if not row.text.strip():
            return "skip"
        bad.append(row)
        return "error"

    parse.invalid_row_handler = on_bad_row
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(text),
            read_options=pa_csv.ReadOptions(column_names=names, block_size=BLOCK),
            parse_options=parse,
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except (pa.ArrowException, OSError) as error:
        if not bad:
            raise InputError(f"{file} cannot be read as separated values: {error}") from error
        line = _line_of(text, bad[0].text)
        raise InputError(
            f"{file}, line {line}: {bad[0].actual_columns} values, but the first line has {bad[0].expected_columns};"
            f" quote values that hold the separator, name another with {options}delimiter, or take out other lines"
        ) from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _line_of(text: memoryview, row: str) -> int:
    found = re.search(rb"(?:\A|(?<=[\r\n]))" + re.escape(row.encode()) + rb"(?=[\r\n]|\Z)", text)
    return line_at(text, found.start() if found else 0)


def _without_blank_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """A spreadsheet writes a blank row as delimiters."""
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    return frame.filter(~blank) if blank.any() else frame
