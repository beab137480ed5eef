"""Chooses the columns of an item table that are attributes, and reads them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from index.attribute_types import AttributeType
from index.errors import InputError
from trainer.datasets.attribute_columns import attribute_values
from trainer.datasets.attributes import Attributes, as_attributes
from trainer.datasets.columns import ColumnRole, as_text, need_column
from trainer.datasets.reading import TableFile

CATEGORIES = "categories"  # the attribute with all categories of an item that has several
SHORT = 64  # characters; a text column whose values are all that short is an attribute, too
SEPARATOR = "|"


@dataclass(frozen=True)
class AttributeOptions:
    """Which columns are attributes, None: all that are nothing else, and of what types, where a person says so."""

    columns: Sequence[str] | None = None
    list_columns: Sequence[str] = ()
    separator: str = SEPARATOR
    types: Mapping[str, AttributeType] = field(default_factory=dict)


EVERY_ATTRIBUTE = AttributeOptions()


@dataclass(frozen=True)
class ItemColumns:
    """The columns that are read as something else than attributes."""

    item_id: str
    title: str | None
    category: str | None
    image: str | None
    texts: Sequence[str]

    @property
    def fields(self) -> set[str | None]:
        return {self.item_id, self.title, self.category, self.image}


def read_attributes(
    table: TableFile, item_ids: pl.Series, columns: ItemColumns, options: AttributeOptions
) -> Attributes:
    """The attributes of each item; of a category column that holds lists, they have all categories.

    InputError: no such column, a type for a column that is no attribute, or a value of another type than declared.
    """
    names = _attribute_columns(table, columns, options)
    types = _declared(table, columns, names, options)
    read = {
        name: attribute_values(
            table.frame[name], types.get(name), separator=options.separator, written=table.values_are_text
        )
        for name in [*names, *([columns.category] if columns.category in types else [])]
        if name is not None
    }
    renamed = {CATEGORIES if name == columns.category else name: found.values for name, found in read.items()}
    notes = tuple(f"{table.file.name}: {note}" for found in read.values() for note in found.notes)
    attributes = as_attributes(item_ids, _records(renamed, len(item_ids)), table.file.name)
    declared = {CATEGORIES if name == columns.category else name: kind for name, kind in types.items()}
    return Attributes(
        attributes.column,
        attributes.counts,
        (*notes, *attributes.notes),
        {name: declared.get(name, kind) for name, kind in attributes.types.items()},
    )


def first_categories(table: TableFile, category: str, separator: str) -> pl.Series:
    """The first category of each item, "" for none, of a column that holds lists."""
    lists = attribute_values(table.frame[category], "list", separator=separator, written=table.values_are_text)
    return pl.Series(category, [found[0] if found else "" for found in lists.values], dtype=pl.String)


def _attribute_columns(table: TableFile, columns: ItemColumns, options: AttributeOptions) -> list[str]:
    if options.columns is not None:
        role = ColumnRole("", "--attribute-columns", ())
        return list(dict.fromkeys(need_column(table, role, name) for name in options.columns))
    others = [name for name in table.columns if name not in columns.fields]
    return [name for name in others if name not in columns.texts or _is_short(table.frame[name])]


def _is_short(column: pl.Series) -> bool:
    longest = as_text(column).str.len_chars().max()
    return not isinstance(longest, int) or longest <= SHORT


def _declared(
    table: TableFile, columns: ItemColumns, names: Sequence[str], options: AttributeOptions
) -> dict[str, AttributeType]:
    """The declared types by the names of columns."""
    lists, typed = ColumnRole("", "--list-columns", ()), ColumnRole("", "--attribute-types", ())
    types = {need_column(table, typed, name): kind for name, kind in options.types.items()}
    listed = [need_column(table, lists, name) for name in options.list_columns]
    if unlike := [name for name in listed if types.get(name, "list") != "list"]:
        raise InputError(f"{unlike[0]!r} is a list by --list-columns and a {types[unlike[0]]} by --attribute-types")
    types |= dict.fromkeys(listed, "list")
    if lost := [name for name in types if name not in names and name != columns.category]:
        raise InputError(
            f"{table.file}: {lost[0]!r} has a declared type but is no attribute; name it in --attribute-columns"
        )
    if columns.category in types and columns.category not in names and types[columns.category] != "list":
        raise InputError(f"{columns.category!r} is the category, which is text, or a list by --list-columns")
    return types


def _records(values: Mapping[str, Sequence[Any]], n_items: int) -> Iterator[dict[str, Any]]:
    if not values:
        return iter([{}] * n_items)
    return (dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True))
