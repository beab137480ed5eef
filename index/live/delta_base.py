"""The files of a live index: what it belongs to, the compacted main index, and the logs of the changes since.

`base-000007` holds everything that the logs before `log-000007` say: a start reads the newest base and the logs from
its number on. A killed compaction leaves an older base with more logs, or files that a newer base replaces.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field, TypeAdapter

from index.errors import InputError
from index.frozen_model import FrozenModel
from index.item_index import ItemIndex
from index.ranking import Array
from index.reading import map_array, read_json
from index.storage import (
    files_under,
    remove_tree,
    replace_file,
    save_array,
    sha256_of,
    sync,
    sync_tree,
    temporary_folder,
)

OWNER, RECORD = "delta.json", "base.json"
ROWS, VECTORS, INDEX = "rows.npy", "vectors.npy", "item.faiss"
FORMAT = 1
_NAME = re.compile(r"(base|log)-(\d+)")
_HINT = "remove the delta's folder and put its items again"

Read = Callable[[Path, Array], ItemIndex]


class Owner(FrozenModel):
    """What a delta's rows refer to; a delta is of no use beside another main index."""

    format: int = FORMAT
    main_id: str
    n_items: int
    embedding_size: int


class BaseRecord(FrozenModel):
    """What a compacted main index does not say itself."""

    n_rows: int
    added: dict[str, int] = Field(description="The row of each id that the bundle does not have.")
    put: tuple[int, ...] = Field(description="Rows whose item was put since the bundle.")
    removed: tuple[int, ...] = Field(description="Rows whose item was removed since the bundle.")
    settings: dict[str, int] = Field(default={}, description="The search settings of the index.")
    files: dict[str, str] = Field(default={}, description="The sha256 of each other file.")


def claim(folder: Path, owner: Owner) -> None:
    """Make the folder the delta of `owner`; InputError where it is the delta of another main index."""
    file = folder / OWNER
    if not file.exists():
        replace_file(file, owner.model_dump_json().encode())
    found = read_json(file, TypeAdapter(Owner), _HINT)
    if found != owner:
        raise InputError(f"{folder} is the delta of {found}; expected that of {owner}: give each bundle its own folder")


def base_path(folder: Path, number: int) -> Path:
    """The folder of a compacted index."""
    return folder / f"base-{number:06}"


def log_path(folder: Path, number: int) -> Path:
    """The log of the changes since base `number` was taken."""
    return folder / f"log-{number:06}"


def numbers(folder: Path) -> tuple[int, list[int]]:
    """The number of the newest base, 0 where there is none, and of the logs from it on, ascending."""
    found = [match for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    newest = max((int(match[2]) for match in found if match[1] == "base"), default=0)
    return newest, sorted(int(match[2]) for match in found if match[1] == "log" and int(match[2]) >= newest)


def remove_before(folder: Path, number: int) -> None:
    """Remove the bases and logs that base `number` replaces."""
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and int(match[2]) < number:
            remove_tree(path)


def write_base(folder: Path, number: int, index: ItemIndex, rows: Array, record: BaseRecord) -> None:
    """Write a base, whole or not at all. InputError where there is no room."""
    with temporary_folder(folder) as temporary:
        save_array(temporary / ROWS, rows)
        save_array(temporary / VECTORS, index.vectors)
        index.write(temporary / INDEX)
        sums = {name: sha256_of(path) for name, path in files_under(temporary).items()}
        written = record.model_copy(update={"files": sums, "settings": index.settings})
        (temporary / RECORD).write_text(written.model_dump_json(), encoding="utf-8")
        sync_tree(temporary)
        temporary.rename(base_path(folder, number))
        sync(folder)


def read_base(folder: Path, number: int, read: Read) -> tuple[ItemIndex, Array, BaseRecord]:
    """The main index over mapped vectors, its rows, and the record; InputError where a file differs from its sum."""
    base = base_path(folder, number)
    record = read_json(base / RECORD, TypeAdapter(BaseRecord), _HINT)
    for name in (ROWS, VECTORS, INDEX):
        found = sha256_of(base / name) if (base / name).is_file() else "no file"
        if found != record.files.get(name):
            raise InputError(f"{base / name} has sha256 {found}; expected {record.files.get(name)}: {_HINT}")
    rows = np.array(map_array(base / ROWS))
    return read(base / INDEX, map_array(base / VECTORS)).with_settings(record.settings), rows, record
