"""The item store of a single replica: a SQLite file in WAL mode with every acknowledged change on disk."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from index.attribute_types import AttributeType
from service.errors import InvalidRequestError, ServiceError
from service.items.item import Item, ItemChange
from service.items.schema import FORMAT, check_writable
from service.items.store import ItemsChangedError, ItemWrite, items_of
from service.items.stored_form import ItemDecoder, encode
from service.items.writes import ItemWrites
from service.storage.sqlite_database import SqliteDatabase
from service.telemetry.metrics import ItemMetrics

_CHANGES = "SELECT item_id, position, body FROM items WHERE position > ? ORDER BY position LIMIT ?"
_ENTRIES = "SELECT item_id, position, body FROM items WHERE item_id = ?"
_PUT = """INSERT INTO items VALUES (?, ?, ?)
    ON CONFLICT (item_id) DO UPDATE SET position = excluded.position, body = excluded.body"""
_LOOKED_UP_AT_ONCE = 16  # items; more are read in a thread
_LOOKED_UP_BY_ONE = 512  # by one statement


class SqliteItems:
    """Does many writes in one transaction from one thread; readers see what is committed and never block it."""

    def __init__(self, path: Path, metrics: ItemMetrics, *, most_waiting: int) -> None:
        self._database = SqliteDatabase(path, FORMAT, check_writable)
        self._decode = ItemDecoder(metrics)
        self._writes = ItemWrites(self._write, metrics, most_waiting=most_waiting)
        self.write = self._writes.write
        self._writes.problem = self._database.problem

    @property
    def problem(self) -> str | None:
        return self._writes.problem

    async def get(self, item_ids: Sequence[str]) -> list[Item | None]:
        return items_of(await self.entries(item_ids))

    async def entries(self, item_ids: Sequence[str]) -> list[ItemChange | None]:
        def look_up(connection: sqlite3.Connection) -> list[ItemChange | None]:
            rows = (connection.execute(_ENTRIES, (item_id,)).fetchone() for item_id in item_ids)
            return [None if row is None else self._decode.entry(*row) for row in rows]

        if len(item_ids) > _LOOKED_UP_AT_ONCE:
            return await self._database.read(look_up)
        with self._database.reader() as connection:
            return look_up(connection)

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        def read(connection: sqlite3.Connection) -> list[ItemChange]:
            found: list[ItemChange] = []
            position, more = after, True
            while more and len(found) < limit:  # what cannot be read leaves room
                rows = connection.execute(_CHANGES, (position, limit - len(found))).fetchall()
                more = bool(rows)
                position = rows[-1][1] if rows else position
                found += [change for row in rows if (change := self._decode(*row)) is not None]
            return found

        return await self._database.read(read)

    async def last_position(self) -> int:
        return await self._database.read(_last_position)

    async def count(self) -> int:
        return int(await self._database.read(lambda connection: _value(connection, "SELECT n_items FROM state")))

    async def types(self) -> dict[str, AttributeType]:
        with self._database.reader() as connection:
            return _types(connection)

    async def close(self) -> None:
        await self._writes.close()
        self._database.close()

    async def _write(self, writes: list[ItemWrite]) -> list[int | ServiceError]:
        def apply(connection: sqlite3.Connection) -> list[int | ServiceError]:
            return [_outcome(connection, write) for write in writes]

        return await self._database.transaction(apply)


def _outcome(connection: sqlite3.Connection, write: ItemWrite) -> int | ServiceError:
    """Check a write, then apply it: one that is refused has changed nothing, and the others of its batch go on."""
    try:
        _check(connection, write)
    except (InvalidRequestError, ItemsChangedError) as error:
        return error
    return _apply(connection, write)


def _check(connection: sqlite3.Connection, write: ItemWrite) -> None:
    if write.retyped_at is None and write.types:
        write.check_types(_types(connection))
    elif write.retyped_at not in (None, _last_position(connection)):
        raise ItemsChangedError("items were changed while their attributes were declared")
    found = _positions(connection, write.expected)
    for item_id, position in write.expected.items():
        if found.get(item_id, 0) != position:
            raise ItemsChangedError(f"item {item_id!r:.80} was changed by another request at the same time")


def _apply(connection: sqlite3.Connection, write: ItemWrite) -> int:
    connection.executemany("INSERT OR REPLACE INTO types VALUES (?, ?)", list(write.types.items()))
    position = _last_position(connection)
    n_before = _n_stored(connection, write.changes)
    rows = [(item_id, position + i, encode(item)) for i, (item_id, item) in enumerate(write.changes.items(), 1)]
    connection.executemany(_PUT, rows)
    n_after = sum(body is not None for *_, body in rows)
    position += len(rows)
    connection.execute("UPDATE state SET position = ?, n_items = n_items + ?", (position, n_after - n_before))
    return position


def _positions(connection: sqlite3.Connection, item_ids: Iterable[str]) -> dict[str, int]:
    return {item_id: position for item_id, position, _ in _rows(connection, item_ids)}


def _n_stored(connection: sqlite3.Connection, item_ids: Iterable[str]) -> int:
    return sum(stored for *_, stored in _rows(connection, item_ids))


def _rows(connection: sqlite3.Connection, item_ids: Iterable[str]) -> Iterator[tuple[str, int, bool]]:
    """Id, position and whether it is not deleted, of each item in the store."""
    ids = list(item_ids)
    for start in range(0, len(ids), _LOOKED_UP_BY_ONE):  # not as JSON, whose strings SQLite ends at a zero byte
        some = ids[start : start + _LOOKED_UP_BY_ONE]
        places = ", ".join("?" * len(some))
        yield from connection.execute(
            f"SELECT item_id, position, body IS NOT NULL FROM items WHERE item_id IN ({places})", some
        )


def _types(connection: sqlite3.Connection) -> dict[str, AttributeType]:
    return dict(connection.execute("SELECT name, type FROM types").fetchall())


def _last_position(connection: sqlite3.Connection) -> int:
    return int(_value(connection, "SELECT position FROM state"))


def _value(connection: sqlite3.Connection, query: str) -> Any:
    (value,) = connection.execute(query).fetchone()
    return value
