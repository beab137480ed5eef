"""The users of a run: a column of a Parquet file, or all users of the bundle."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from index.errors import InputError
from index.ids import IdTable

COLUMN = "user_id"
ALL = "all"


@dataclass(frozen=True)
class Users:
    """User ids, in an order that stays; they are read from the file, or the bundle, each time."""

    path: Path | None  # None: these rows of the known users
    known: IdTable
    rows: Sequence[int]
    id_max_chars: int

    def __len__(self) -> int:
        return len(self.rows) if self.path is None else int(_open(self.path).metadata.num_rows)

    def batches(self, size: int) -> Iterator[list[str]]:
        """The ids, so many at a time. InputError where the file has no such column, or a value in it that is no id."""
        if self.path is None:
            for start in range(0, len(self.rows), size):
                yield [self.known[row] for row in self.rows[start : start + size]]
        else:
            yield from _read(self.path, size, self.id_max_chars)

    def digest(self, size: int) -> str:
        """What identifies these users in this order; reads all of them, so that each wrong one is found."""
        digest = hashlib.sha256()
        for batch in self.batches(size):
            digest.update(orjson.dumps(batch))
        return digest.hexdigest()


def users_of(choice: str, known: IdTable, is_forgotten: Callable[[str], bool], id_max_chars: int) -> Users:
    """The users that `--users` chooses: a file, or `all`, without forgotten people. InputError where there are none."""
    if choice == ALL:
        rows = [row for row in range(len(known)) if not is_forgotten(known[row])]
        users = Users(None, known, rows, id_max_chars)
    else:
        users = Users(Path(choice), known, (), id_max_chars)
    if not len(users):
        raise InputError(f"{choice}: has no users, expected at least one")
    return users


def _open(path: Path) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - slow to import, and only this command needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a Parquet file with a column {COLUMN}, or `{ALL}`")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}") from error


def _read(path: Path, size: int, id_max_chars: int) -> Iterator[list[str]]:
    import pyarrow as pa  # noqa: PLC0415

    file = _open(path)
    _check_column(path, file.schema_arrow)
    first = 0
    try:
        for batch in file.iter_batches(size, columns=[COLUMN]):
            ids = batch.column(0).cast(pa.string()).to_pylist()
            _check_ids(path, ids, first, id_max_chars)
            first += len(ids)
            yield ids
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}") from error


def _check_column(path: Path, schema: Any) -> None:
    import pyarrow as pa  # noqa: PLC0415

    if COLUMN not in schema.names:
        raise InputError(f"{path}: has the columns {', '.join(schema.names)[:200] or 'none'}; expected {COLUMN}")
    kind = schema.field(COLUMN).type
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text)):
        raise InputError(f"{path}: {COLUMN} is {kind}; expected text")


def _check_ids(path: Path, ids: list[str | None], first: int, most: int) -> None:
    for i, one in enumerate(ids):
        if not one or len(one) > most:
            found = "none" if one is None else f"{len(one)} characters"
            raise InputError(f"{path}: {COLUMN} of row {first + i} has {found}; expected 1 to {most} characters")
