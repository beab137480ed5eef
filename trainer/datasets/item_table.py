"""Reads item metadata: a table with titles, categories and texts, and pictures in a folder or by path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from index.attribute_types import AttributeType
from index.errors import InputError
from trainer.datasets.columns import (
    BRAND,
    CATEGORY,
    DESCRIPTION,
    ITEM_ID,
    TITLE,
    ColumnRole,
    as_text,
    find_column,
    need_column,
)
from trainer.datasets.ids import read_ids
from trainer.datasets.joining import meeting_note, without_point
from trainer.datasets.reading import TableFile, read_table
from trainer.datasets.separated import TextFormat
from trainer.datasets.table_attributes import (
    EVERY_ATTRIBUTE,
    AttributeOptions,
    ItemColumns,
    first_categories,
    read_attributes,
)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
ITEMS_TEXT = TextFormat(options="--items-")
IMAGE = ColumnRole("image", "--image-column", ())
TEXT_ROLES = (TITLE, BRAND, CATEGORY, DESCRIPTION)  # the order of the published text features


@dataclass(frozen=True)
class ItemTableOptions:
    """Where items are described; a column that is not named is looked for under its usual names."""

    file: Path
    written: TextFormat = ITEMS_TEXT
    exact_ids: bool = False
    id_column: str | None = None
    title_column: str | None = None
    category_column: str | None = None
    text_columns: Sequence[str] = ()
    attributes: AttributeOptions = EVERY_ATTRIBUTE
    image_column: str | None = None
    images: Path | None = None


@dataclass(frozen=True)
class ItemTable:
    """Items in file order, with the columns a Source needs."""

    items: pl.DataFrame
    counts: dict[str, int]
    notes: tuple[str, ...]
    attribute_types: Mapping[str, AttributeType] = field(default_factory=dict)


def read_item_table(options: ItemTableOptions) -> ItemTable:
    """Read the table; rows without an id are an error, since ready features could not be matched any more."""
    file, table = options.file, read_table(options.file, options.written)
    item_id = need_column(table, ITEM_ID, options.id_column)
    title = find_column(table, TITLE, options.title_column)
    category = find_column(table, CATEGORY, options.category_column)
    image = need_column(table, IMAGE, options.image_column) if options.image_column else None
    listed = ColumnRole("", "--text-columns", ())
    text_columns = [need_column(table, listed, name) for name in options.text_columns]
    text_columns = text_columns or _usual_text_columns(table, options)
    ids = read_ids(table.frame[item_id], exact=options.exact_ids)
    item_ids = _whole_ids(file, ids.values)
    columns = ItemColumns(item_id, title, category, image, text_columns)
    attributes = read_attributes(table, item_ids, columns, options.attributes)
    items = pl.DataFrame(
        {
            "item_id": item_ids,
            "title": _text_of(table.frame, title),
            "category": _categories(table, category, options.attributes),
            "text": _joined(table.frame, text_columns),
            "attributes": attributes.column,
        }
    )
    pictured = _with_pictures(items, table, image, options)
    chosen = f"item id: {item_id} (--id-column), {ids.kind} (--ids), title: {title or 'none'} (--title-column)"
    text = " + ".join(text_columns) or "none"
    note = f"{file.name}: {chosen}, category: {category or 'none'} (--category-column), text: {text} (--text-columns)"
    counts = {"items_in_the_item_table": len(items)} | pictured.counts | attributes.counts
    notes = (table.note, note, *pictured.notes, *attributes.notes)
    return ItemTable(pictured.items, counts, notes, attributes.types)


def items_of(item_ids: pl.Series, images: Path | None) -> ItemTable:
    """Items without metadata, with their pictures from the folder `images` where one is given."""
    items = item_ids.alias("item_id").to_frame()
    return with_pictures_from(items, images) if images else ItemTable(items, {}, ())


def pictures_in(folder: Path) -> dict[str, str]:
    """Absolute path of each picture by its name without suffix; of two with one name, the first suffix wins."""
    if not folder.is_dir():
        raise InputError(f"no such folder of images: {folder}")
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    files.sort(key=lambda file: (PICTURE_SUFFIXES.index(file.suffix.lower()), file.name), reverse=True)
    return {_readable(file.stem): _readable(str(file.absolute())) for file in files}


def _readable(name: str) -> str:
    """The name with a replacement character for each byte that is not UTF-8: no id is written so."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def with_pictures_from(items: pl.DataFrame, folder: Path) -> ItemTable:
    """Give every item the picture named by its id; ids are looked up in a listing and never become paths.

    InputError: the folder holds no picture, or none of an item.
    """
    pictures = pictures_in(folder)
    if not pictures:
        raise InputError(f"{folder} holds no pictures; expected <item id> and one of {', '.join(PICTURE_SUFFIXES)}")
    by_name = {name.strip(): path for name, path in pictures.items()} | pictures
    names, ids = pl.Series(list(by_name), dtype=pl.String), items["item_id"]
    found = [by_name.get(name, "") for name in without_point(ids, names)]
    where = f"among the pictures in {folder} (named by item id, else by --image-column)"
    note = meeting_note("items", without_point(ids, names), names, where)
    without_item = len(set(pictures.values()).difference(found))
    pictured = items.with_columns(pl.Series("image", found, dtype=pl.String))
    return ItemTable(pictured, {"pictures_without_an_item": without_item}, (note,))


def _usual_text_columns(table: TableFile, options: ItemTableOptions) -> list[str]:
    named = {TITLE: options.title_column, CATEGORY: options.category_column}
    found = (find_column(table, role, named.get(role)) for role in TEXT_ROLES)
    return list(dict.fromkeys(column for column in found if column))


def _whole_ids(file: Path, ids: pl.Series) -> pl.Series:
    if empty := ids.null_count():
        raise InputError(f"{file}: {empty:,} of {len(ids):,} items have no id in column {ids.name!r}")
    return ids


def _categories(table: TableFile, category: str | None, options: AttributeOptions) -> pl.Series:
    lists = [find_column(table, CATEGORY, name) for name in options.list_columns]
    if category is not None and category in lists:
        return first_categories(table, category, options.separator)
    return _text_of(table.frame, category)


def _text_of(table: pl.DataFrame, column: str | None) -> pl.Series:
    return as_text(table[column]) if column else pl.Series([""], dtype=pl.String).new_from_index(0, len(table))


def _joined(table: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    texts = pl.DataFrame({name: as_text(table[name]).replace("", None) for name in columns})
    if not columns:
        return _text_of(table, None)
    return texts.select(pl.concat_str(pl.all(), separator=" ", ignore_nulls=True).fill_null("")).to_series()


def _with_pictures(items: pl.DataFrame, table: TableFile, image: str | None, options: ItemTableOptions) -> ItemTable:
    if image is None:
        return with_pictures_from(items, options.images) if options.images else ItemTable(items, {}, ())
    named = as_text(table.frame[image])
    base = options.images or options.file.parent
    paths = [_existing(base / path) if path else "" for path in named]
    missing = [path for path, found in zip(named, paths, strict=True) if path and not found]
    if missing and not any(paths):
        raise InputError(
            f"{options.file}: none of the {len(missing):,} pictures named in column {image!r} is there,"
            f" first {str(base / missing[0])!r}; --images names the folder that the paths start from"
        )
    pictured = items.with_columns(pl.Series("image", paths, dtype=pl.String))
    return ItemTable(pictured, {"named_pictures_not_found": len(missing)}, ())


def _existing(file: Path) -> str:
    try:
        return str(file.absolute()) if file.is_file() else ""
    except OSError:  # a name too long for the file system
        return ""
