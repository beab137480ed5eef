"""Opens a table by its name and content: csv and its kin, JSON, Parquet, each also compressed."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from index.errors import InputError
from trainer.datasets.charset import as_utf8
from trainer.datasets.input_bytes import plain_name, read_content
from trainer.datasets.json_table import read_json
from trainer.datasets.separated import FOUND_OUT, NAMES, TextFormat, read_separated
from trainer.parquet import parse_parquet

USUAL_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"} | dict.fromkeys(
    (".txt", ".dat", ".data", ".base", ".test", ".inter", ".user", ".item"), "\t"
)
JSON = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class TableFile:
    """A table as it stands in its file."""

    file: Path
    frame: pl.DataFrame
    note: str
    """How the file was read, with the options that override what was guessed."""
    advice: str = ""
    """What to try when the columns are not those that were expected."""
    values_are_text: bool = False
    """All values are strings, numbers too, because the file has no types."""

    @property
    def columns(self) -> list[str]:
        return self.frame.columns


def read_table(file: Path, form: TextFormat = FOUND_OUT) -> TableFile:
    """Read the whole table; values of separated text are strings, others have the types of their file."""
    content = read_content(file)
    suffix = Path(plain_name(file)).suffix
    if suffix in PARQUET or bytes(content[:4]) == bytes(content[-4:]) == b"PAR1":
        _refuse_names(file, form)
        return TableFile(file, parse_parquet(file, content), f"{file.name}: Parquet")
    usual = form.delimiter or USUAL_DELIMITERS.get(suffix)
    if suffix not in JSON and usual is None:
        raise InputError(
            f"{file}: expected a name that ends in .csv, .tsv, .txt, .dat, .inter, .jsonl, .json (or these and .gz,"
            f" .zst, .bz2) or .parquet; {form.options}delimiter reads any other as separated text"
        )
    text, encoding = as_utf8(
        file, content, encoding=form.encoding, fallback=form.fallback_encoding, option=f"{form.options}encoding"
    )
    decoded = f"{encoding} ({form.options}encoding)"
    if form.delimiter is None and (suffix in JSON or re.match(rb'\s*(?:\[\s*)?\{\s*"', text)):
        _refuse_names(file, form)
        return TableFile(file, read_json(file, text), f"{file.name}: JSON, {decoded}")
    read = read_separated(file, text, form, str(usual))
    separator = NAMES.get(read.delimiter, repr(read.delimiter))
    return TableFile(
        file,
        read.frame,
        f"{file.name}: separated by {separator} ({form.options}delimiter), {decoded}",
        _advice(read.frame.columns, separator, form),
        values_are_text=True,
    )


def _refuse_names(file: Path, form: TextFormat) -> None:
    if form.columns:
        raise InputError(f"{file}: {form.options}columns is for text without a header; this file names its columns")


def _advice(columns: list[str], separator: str, form: TextFormat) -> str:
    if len(columns) == 1:
        return f"; {separator} separate no columns there: name the separator with {form.options}delimiter"
    return f"; if its first line is no header, name the columns with {form.options}columns"
