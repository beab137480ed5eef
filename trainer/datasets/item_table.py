"""Reads item metadata: a table with titles, categories and texts, and pictures in a folder or by path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from index.errors import InputError
from trainer.datasets.attributes import as_attributes, attribute_records
from trainer.datasets.columns import (
    BRAND,
    CATEGORY,
    DESCRIPTION,
    ITEM_ID,
    TITLE,
    ColumnRole,
    as_ids,
    as_text,
    find_column,
    need_column,
    read_table,
)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TEXT_ROLES = (TITLE, BRAND, CATEGORY, DESCRIPTION)  # the order of the published text features


@dataclass(frozen=True)
class ItemTableOptions:
    """Where items are described; a column that is not named is looked for under its usual names."""

    file: Path
    id_column: str | None = None
    title_column: str | None = None
    category_column: str | None = None
    text_columns: Sequence[str] = ()
    attribute_columns: Sequence[str] = ()
    image_column: str | None = None
    images: Path | None = None


@dataclass(frozen=True)
class ItemTable:
    """Items in file order, with the columns a Source needs."""

    items: pl.DataFrame
    counts: dict[str, int]
    notes: tuple[str, ...]


def read_item_table(options: ItemTableOptions) -> ItemTable:
    """Read the table; rows without an id are an error, since ready features could not be matched any more."""
    file, table = options.file, read_table(options.file)
    item_id = need_column(file, table.columns, ITEM_ID, options.id_column)
    title = find_column(file, table.columns, TITLE, options.title_column)
    category = find_column(file, table.columns, CATEGORY, options.category_column)
    text_columns = list(options.text_columns) or _usual_text_columns(file, table.columns, options)
    for name in (*text_columns, *options.attribute_columns):
        find_column(file, table.columns, ColumnRole("", "--text-columns or --attribute-columns", ()), name)
    item_ids = _whole_ids(file, table[item_id])
    attributes = as_attributes(item_ids, attribute_records(table, options.attribute_columns), file.name)
    items = pl.DataFrame(
        {
            "item_id": item_ids,
            "title": _text_of(table, title),
            "category": _text_of(table, category),
            "text": _joined(table, text_columns),
            "attributes": attributes.column,
        }
    )
    pictured, counts = _with_pictures(items, table, options)
    chosen = f"item id: {item_id}, title: {title or 'none'}, category: {category or 'none'}"
    note = f"{file.name}: {chosen}, text: {' + '.join(text_columns) or 'none'}"
    counts = {"items_in_the_item_table": len(items)} | counts | attributes.counts
    return ItemTable(pictured, counts, (note, *attributes.notes))


def items_of(item_ids: pl.Series, images: Path | None) -> ItemTable:
    """Items without metadata, with their pictures from the folder `images` where one is given."""
    items = item_ids.alias("item_id").to_frame()
    pictured, counts = with_pictures_from(items, images) if images else (items, {})
    return ItemTable(pictured, counts, ())


def pictures_in(folder: Path) -> dict[str, str]:
    """Absolute path of each picture by its name without suffix; of two with one name, the first suffix wins."""
    if not folder.is_dir():
        raise InputError(f"no such folder of images: {folder}")
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    files.sort(key=lambda file: (PICTURE_SUFFIXES.index(file.suffix.lower()), file.name), reverse=True)
    return {file.stem: str(file.absolute()) for file in files}


def with_pictures_from(items: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """Give every item the picture named by its id; ids are looked up in a listing and never become paths."""
    pictures = pictures_in(folder)
    found = [pictures.get(item_id, "") for item_id in items["item_id"]]
    counts = {"pictures_without_an_item": len(pictures) - sum(path != "" for path in found)}
    return items.with_columns(pl.Series("image", found, dtype=pl.String)), counts


def _usual_text_columns(file: Path, columns: Sequence[str], options: ItemTableOptions) -> list[str]:
    named = {TITLE: options.title_column, CATEGORY: options.category_column}
    found = (find_column(file, columns, role, named.get(role)) for role in TEXT_ROLES)
    return list(dict.fromkeys(column for column in found if column))


def _whole_ids(file: Path, column: pl.Series) -> pl.Series:
    ids = as_ids(column)
    if empty := int((ids.fill_null("") == "").sum()):
        raise InputError(f"{file}: {empty:,} of {len(ids):,} items have no id in column {column.name!r}")
    return ids


def _text_of(table: pl.DataFrame, column: str | None) -> pl.Series:
    return as_text(table[column]) if column else pl.Series([""], dtype=pl.String).new_from_index(0, len(table))


def _joined(table: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    texts = pl.DataFrame({name: as_text(table[name]).replace("", None) for name in columns})
    if not columns:
        return _text_of(table, None)
    return texts.select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True).fill_null("")).to_series()


def _with_pictures(
    items: pl.DataFrame, table: pl.DataFrame, options: ItemTableOptions
) -> tuple[pl.DataFrame, dict[str, int]]:
    if options.image_column is None:
        return with_pictures_from(items, options.images) if options.images else (items, {})
    role = ColumnRole("image", "--image-column", ())
    named = as_text(table[need_column(options.file, table.columns, role, options.image_column)])
    base = options.images or options.file.parent
    paths = [_existing(base / path) if path else "" for path in named]
    counts = {
        "named_pictures_not_found": sum(bool(path) and not found for path, found in zip(named, paths, strict=True))
    }
    return items.with_columns(pl.Series("image", paths, dtype=pl.String)), counts


def _existing(file: Path) -> str:
    try:
        return str(file.absolute()) if file.is_file() else ""
    except OSError:  # a name too long for the file system
        return ""
