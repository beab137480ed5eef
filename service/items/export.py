"""Exports the stored items to a Parquet file, for training."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

import orjson
from rich.console import Console
from rich.progress import Progress

from index.errors import InputError
from index.modality import Modality
from index.storage import atomic_writer
from service.items.item import Item, ItemChange
from service.items.open_store import open_store
from service.items.store import ItemStore, ItemsUnavailable
from service.settings import ItemSettings
from service.telemetry.metrics import Metrics

CHUNK = 250  # changes read and written at once: bounds memory at any number of items
FEATURES = tuple(f"features_{modality}" for modality in get_args(Modality))


class EncodedPicture(NamedTuple):
    """Features of an item's picture, and the name and version of the encoder that made them."""

    encoder: str
    features: list[float]


EncodedPictures = Callable[[Sequence[Item]], Awaitable[Sequence[EncodedPicture | None]]]


class ExportedItems(NamedTuple):
    """The content of an exported file."""

    items: int
    deleted: int
    last_position: int


async def export_items(
    store: ItemStore,
    out: Path,
    *,
    pictures: EncodedPictures | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportedItems:
    """Write each item once, and the ids of deleted ones; the file appears atomically once it is complete.

    `pictures` gives features of pictures that the reader of the file cannot read itself. An item that changes meanwhile
    has its state before or after the change. InputError where it cannot be written.
    """
    try:
        # In threads, so that the event loop of a service that exports does not wait for Parquet.
        with atomic_writer(out) as file:
            return await _write_all(store, file, pictures, on_progress)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; nothing was left") from error


async def export_all(settings: ItemSettings, out: Path) -> ExportedItems:
    """Export from the store of the settings, with a progress bar where standard error is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("items", total=None)
        try:
            async with open_store(settings, Metrics()) as store:
                return await export_items(
                    store, out, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
                )
        except ItemsUnavailable as error:
            raise InputError(error.detail) from error


async def _write_all(
    store: ItemStore, file: BinaryIO, pictures: EncodedPictures | None, on_progress: Callable[[int, int], None]
) -> ExportedItems:
    # The ids first: read in one pass, an item that changes meanwhile would be met twice.
    ids, position = await _all_ids(store)
    deleted, done = 0, 0
    with await asyncio.to_thread(_open_writer, file) as writer:
        for start in range(0, len(ids), CHUNK):
            changes = [entry for entry in await store.entries(ids[start : start + CHUNK]) if entry is not None]
            items = [change.item for change in changes if change.item is not None]
            encoded = zip(items, await pictures(items) if pictures else [None] * len(items), strict=True)
            by_id = {item.item_id: one for item, one in encoded if one is not None}
            await asyncio.to_thread(_write_chunk, writer, changes, by_id)
            deleted += sum(change.item is None for change in changes)
            done += len(changes)
            on_progress(done, len(ids))
    return ExportedItems(done - deleted, deleted, position)


async def _all_ids(store: ItemStore) -> tuple[list[str], int]:
    """The ids in the order of their changes, and the last position that was read."""
    ids: dict[str, None] = {}
    position, more = 0, True
    while more:
        page = await store.changes(position, CHUNK)
        ids |= dict.fromkeys(change.item_id for change in page)
        position, more = (page[-1].position, len(page) == CHUNK) if page else (position, False)
    return list(ids), position


def _schema() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and only an export needs it

    text, number = pa.string(), pa.float64()
    columns = {
        "item_id": text,
        "title": text,
        "category": text,
        "text": text,
        "image": text,
        "attributes": text,
        "categories": pa.list_(text),
        "available": pa.bool_(),
        "created_at": number,
        "updated_at": number,
        **dict.fromkeys(FEATURES, pa.list_(pa.float32())),
        "encoded_image": pa.list_(pa.float32()),
        "image_encoder": text,
    }
    fields = [pa.field(name, kind) for name, kind in columns.items()]
    return pa.schema([*fields, pa.field("deleted", pa.bool_(), nullable=False)])


def _open_writer(file: Any) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetWriter(file, _schema(), compression="zstd")


def _write_chunk(writer: Any, changes: list[ItemChange], encoded: Mapping[str, EncodedPicture]) -> None:
    import pyarrow as pa  # noqa: PLC0415

    rows = [
        {
            "item_id": change.item_id,
            "deleted": change.item is None,
            **_columns(change.item),
            **_encoded_columns(encoded.get(change.item_id)),
        }
        for change in changes
    ]
    writer.write_table(pa.Table.from_pylist(rows, schema=_schema()))


def _encoded_columns(picture: EncodedPicture | None) -> dict[str, Any]:
    return {} if picture is None else {"encoded_image": picture.features, "image_encoder": picture.encoder}


def _columns(item: Item | None) -> dict[str, Any]:
    """The columns of an item; none, which is null, of a deleted one."""
    if item is None:
        return {}
    features = {f"features_{modality}": list(values) for modality, values in item.features.items()}
    return {
        "title": item.title,
        "category": item.categories[0] if item.categories else "",
        "text": item.text,
        "image": item.image,
        "attributes": orjson.dumps(item.attributes).decode(),
        "categories": list(item.categories),
        "available": item.available,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
        **features,
    }
