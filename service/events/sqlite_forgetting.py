"""Removes a person from the SQLite event log, from its rows and from the bytes of its files."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import orjson

from service.events.counting import COUNTING_TABLE
from service.events.event import FORGOTTEN
from service.events.log import Forgotten
from service.events.sqlite_arms import forget_exposure
from service.sqlite_files import holds, truncate_wal


def places_of(connection: sqlite3.Connection, user_id: str, until: int) -> list[int]:
    """The positions of the user's events, up to the last one to be removed."""
    rows = connection.execute("SELECT position FROM events WHERE user_id = ? AND position <= ?", (user_id, until))
    return [position for (position,) in rows]


def empty_rows(connection: sqlite3.Connection, user_id: str, places: Sequence[int]) -> Forgotten:
    """Empty these rows of the user, which keep their positions, and remove their answers and the exposure to arms.

    What was counted stays counted, as sums in which no person is left.
    """
    forget_exposure(connection, user_id)
    of_events = "(SELECT request_id FROM events WHERE position IN (SELECT value FROM json_each(?)))"
    chosen = orjson.dumps(list(places)).decode()
    connection.execute(f"DELETE FROM {COUNTING_TABLE} WHERE request_id IN {of_events}", (chosen,))
    answers = connection.execute(f"DELETE FROM answers WHERE request_id IN {of_events}", (chosen,)).rowcount
    events = connection.execute(
        f"""UPDATE events SET event_id = '{FORGOTTEN}:' || lower(hex(randomblob(16))), user_id = '', item_id = '',
        kind = '{FORGOTTEN}', value = 0, request_id = NULL, bundle = NULL, quantity = NULL, portion = NULL,
        arm = NULL, items = NULL, role = NULL, paid = 0 WHERE position IN (SELECT value FROM json_each(?))""",
        (chosen,),
    ).rowcount
    return Forgotten(events, answers)


def wipe(connection: sqlite3.Connection, path: Path, text: str) -> None:
    """Remove the text from the WAL, and from free space of pages, which rows that moved have left there."""
    truncate_wal(connection)
    if holds(path, text):
        connection.execute("VACUUM")
        truncate_wal(connection)
