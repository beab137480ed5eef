"""Reads and filters the Amazon dumps of 2014 (docs/data.md#amazon-dumps-of-2014) as the papers did."""

import ast
import gzip
import zlib
from collections.abc import Container, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from index.errors import InputError
from trainer.data import Source
from trainer.datasets.attributes import as_attributes
from trainer.datasets.charset import as_utf8
from trainer.datasets.input_bytes import read_content
from trainer.datasets.item_table import ItemTable, with_pictures_from
from trainer.datasets.table_attributes import CATEGORIES
from trainer.datasets.times import TimeOptions, read_times
from trainer.interaction_filters import k_core
from trainer.parquet import PARSER_ERRORS, first_line
from trainer.progress import track

IMAGE_WIDTH = 4096
IMAGE_RECORD = np.dtype([("asin", "S10"), ("features", "<f4", IMAGE_WIDTH)])
RECORDS_AT_ONCE = 1024  # 16 MiB
SHOWN_LINES = 5

REVIEW_SCHEMA = pl.Schema(
    {"reviewerID": pl.String, "asin": pl.String, "overall": pl.Float64, "unixReviewTime": pl.Int64}
)
ITEM_SCHEMA = pl.Schema(dict.fromkeys(("item_id", "title", "category", "text"), pl.String()))
COLUMNS = ("user_id", "item_id", "rating", "timestamp")


def read(
    interactions: Path,
    *,
    metadata: Path | None = None,
    image_features: Path | None = None,
    images: Path | None = None,
    k: int = 5,
) -> Source:
    """Interactions in file order, after dropping what the papers drop and the iterated k-core.

    Metadata and image features are kept for items of the k-core only: the dumps describe many more. `images` is a
    folder of pictures named by ASIN.
    """
    found = _read_interactions(interactions)
    times = read_times(found["timestamp"], TimeOptions("s"))
    core, counts = _chosen(found.with_columns(times.seconds), k)
    asins = core["item_id"].unique(maintain_order=True).to_list()
    described, bad_lines = _read_metadata(metadata, set(asins)) if metadata else ({}, [])
    image_table = _read_image_features(image_features, asins) if image_features else None
    for file, meets in ((metadata, bool(described)), (image_features, image_table is not None and image_table.any())):
        if file and asins and not meets:
            raise InputError(f"{file} has none of the {len(asins):,} items of the interactions, first {asins[0]!r}")
    known = _known(asins, described, image_table) if metadata else np.ones(len(asins), np.bool_)
    rows = [{"item_id": asin} | described.get(asin, {}) for asin in asins]
    attributes = as_attributes(asins, [row.pop("attributes", {}) for row in rows], metadata.name if metadata else "")
    items = pl.DataFrame(rows, schema=ITEM_SCHEMA).with_columns(attributes.column).filter(known)
    pictured = with_pictures_from(items, images) if images else ItemTable(items, {}, ())
    if metadata:
        counts |= {"items_without_metadata": len(asins) - len(described), "bad_metadata_lines": len(bad_lines)}
    return Source(
        name=interactions.name.split(".")[0],
        interactions=core,
        items=pictured.items,
        features={} if image_table is None else {"image": image_table[known]},
        options={
            "reader": "amazon",
            "interactions": interactions,
            "metadata": metadata,
            "image_features": image_features,
            "images": images,
        },
        counts=counts | pictured.counts | attributes.counts,
        notes=times.notes + pictured.notes + attributes.notes + _note_on_bad_lines(metadata, bad_lines),
        attribute_types=attributes.types,
    )


def _known(asins: list[str], described: Container[str], image_table: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Items with metadata or an image record; the others are left to the policy on unknown items."""
    known = np.array([asin in described for asin in asins])
    return known if image_table is None else known | np.any(image_table != 0, axis=1)


def _read_interactions(file: Path) -> pl.DataFrame:
    text, _ = as_utf8(file, read_content(file))
    try:
        if ".json" in file.suffixes:
            return pl.read_ndjson(BytesIO(text), schema=REVIEW_SCHEMA).rename(
                dict(zip(REVIEW_SCHEMA, COLUMNS, strict=True))
            )
        schema = pl.Schema(dict(zip(COLUMNS, REVIEW_SCHEMA.values(), strict=True)))
        return pl.read_csv(BytesIO(text), has_header=False, schema=schema)
    except PARSER_ERRORS as error:
        raise InputError(
            f"{file}: expected reviews (one JSON object a line with {', '.join(REVIEW_SCHEMA)})"
            f" or ratings (csv without header: user,item,rating,timestamp): {first_line(error)}"
        ) from error


def _chosen(found: pl.DataFrame, k: int) -> tuple[pl.DataFrame, dict[str, int]]:
    whole = found.with_columns(pl.col("rating").fill_nan(None)).drop_nulls()
    distinct = whole.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
    core = k_core(distinct, k)
    return core, {
        "interactions_read": len(found),
        "dropped_with_a_missing_value": len(found) - len(whole),
        "dropped_repeats_of_a_user_item_and_time": len(whole) - len(distinct),
        "dropped_outside_the_k_core": len(distinct) - len(core),
    }


def _read_metadata(file: Path, wanted: set[str]) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """What is known of the wanted items, by ASIN (the first line of each counts), and the numbers of bad lines."""
    described: dict[str, dict[str, Any]] = {}
    bad_lines = []
    for number, line in enumerate(track(_lines(file), f"reading {file.name}"), start=1):
        record = _literal(line)
        if record is None or not isinstance(record.get("asin"), str):
            bad_lines.append(number)
        elif record["asin"] in wanted:
            described.setdefault(record["asin"], _description(record))
    return described, bad_lines


def _lines(file: Path) -> Iterator[str]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for line in lines:
                yield line.decode("utf-8", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"no such file: {file}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{file} is cut short or not gzipped: {error}") from error


def _literal(line: str) -> dict[str, Any] | None:
    try:
        record = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return record if isinstance(record, dict) else None


def _description(record: dict[str, Any]) -> dict[str, Any]:
    """Text is title, brand, categories and description, in the order of the published features."""
    categories = record.get("categories")
    paths = [path for path in categories if path] if isinstance(categories, list | tuple) else []
    words = [record.get("title"), record.get("brand"), *_flat(paths), record.get("description")]
    return {
        "title": _text(record.get("title") or ""),
        "category": " > ".join(_flat(paths[:1])),
        "text": " ".join(_text(word).strip() for word in words if word),
        "attributes": {
            "brand": record.get("brand"),
            "price": record.get("price"),
            "image_url": record.get("imUrl"),
            CATEGORIES: list(dict.fromkeys(_flat(paths))) or None,
        },
    }


def _text(value: Any) -> str:
    return str(value).encode(errors="replace").decode()  # half a surrogate pair is no text


def _flat(value: Any) -> Iterable[str]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    else:
        yield _text(value)


def _read_image_features(file: Path, wanted: list[str]) -> NDArray[np.float32]:
    """Rows of the wanted items out of a file too large for memory; zero where the file has no record of an item."""
    features = np.zeros((len(wanted), IMAGE_WIDTH), np.float32)
    rows = {asin.encode(): row for row, asin in enumerate(wanted)}
    records = _open_records(file)
    for start in track(range(0, len(records), RECORDS_AT_ONCE), f"reading {file.name}"):
        block = records[start : start + RECORDS_AT_ONCE]
        for place, asin in enumerate(block["asin"].tolist()):
            if asin in rows:
                features[rows[asin]] = block["features"][place]
    return features


def _open_records(file: Path) -> NDArray[np.void]:
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    size = file.stat().st_size
    if size == 0 or size % IMAGE_RECORD.itemsize:
        raise InputError(
            f"{file}: expected records of {IMAGE_RECORD.itemsize:,} bytes (10 of ASIN, {IMAGE_WIDTH:,} float32);"
            f" its {size:,} bytes are no whole number of them"
        )
    return np.memmap(file, IMAGE_RECORD, mode="r")


def _note_on_bad_lines(metadata: Path | None, bad_lines: list[int]) -> tuple[str, ...]:
    if not (metadata and bad_lines):
        return ()
    shown = ", ".join(map(str, bad_lines[:SHOWN_LINES])) + (", ..." if len(bad_lines) > SHOWN_LINES else "")
    return (f"{metadata.name}: lines that are no Python literal with an asin were left out: {shown}",)
