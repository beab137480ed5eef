"""How the SQLite log counts by arm and user, as arms.py says: triggers, in the transaction that adds the events."""

import sqlite3
from collections.abc import Collection, Sequence

import orjson

from service.events.arm_totals import ArmTotals
from service.events.arms import MOMENTS, SUMS_KEPT_DAYS, totals_of
from service.events.counting import BUCKET, MOST_OF_AN_ANSWER, RECENT
from service.events.event import AS_BOUGHT, AS_SHOWN, EXPLORED_ID
from service.events.window import DAY_S

_OF_A_USER = {  # by name of ArmTotals, from the columns of exposed_users
    "users": "1",
    "shown": "{0}.shown",
    "clicks": "{0}.clicks",
    "converters": "({0}.conversions > 0)",
    "conversions": "{0}.conversions",
    "revenue": "{0}.paid",
    "shown_squared": "{0}.shown * {0}.shown",  # a product beyond 64 bits becomes a float
    "clicks_squared": "{0}.clicks * {0}.clicks",
    "shown_clicks": "{0}.shown * {0}.clicks",
    "revenue_squared": "{0}.paid * {0}.paid",
}
_ADDED = ", ".join(f"{name} = {name} + {_OF_A_USER[name].format('NEW')}" for name in MOMENTS)
_MOVED = ", ".join(
    f"{name} = {name} + ({amount.format('NEW')} - {amount.format('OLD')})"
    for name, amount in _OF_A_USER.items()
    if name != "users"
)
_ARM = "(SELECT arm FROM arms WHERE label = NEW.arm)"
_BY_A_USER = f"NEW.arm IS NOT NULL AND NEW.user_id <> '' AND {RECENT}"
_COMPARED = "({0}.exposed, {0}.shown, {0}.clicks)"

# `exposed` of an answer is the id of a row, so that an answer holds no user; ids are not used again.
# Of `event_of_an_answer` and `event_shown_in_an_arm` either may run first: what an answer has already is counted when
# it gets its user.
ARM_COUNTING = f"""
ALTER TABLE events ADD COLUMN arm TEXT;
ALTER TABLE answers ADD COLUMN exposed INTEGER;
CREATE TABLE arms (
    arm INTEGER PRIMARY KEY, label TEXT NOT NULL UNIQUE, touched REAL NOT NULL,
    {", ".join(f"{name} REAL NOT NULL DEFAULT 0" for name in MOMENTS)}
) STRICT;
CREATE TABLE exposed_users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, arm INTEGER NOT NULL, user_id TEXT NOT NULL,
    shown INTEGER NOT NULL DEFAULT 0, clicks INTEGER NOT NULL DEFAULT 0,
    conversions INTEGER NOT NULL DEFAULT 0, paid INTEGER NOT NULL DEFAULT 0,
    UNIQUE (arm, user_id)
) STRICT;
CREATE TRIGGER user_exposed AFTER INSERT ON exposed_users BEGIN
    UPDATE arms SET {_ADDED} WHERE arm = NEW.arm;
END;
CREATE TRIGGER exposed_user_changed AFTER UPDATE ON exposed_users BEGIN
    UPDATE arms SET {_MOVED} WHERE arm = NEW.arm;
END;
CREATE TRIGGER event_shown_in_an_arm AFTER INSERT ON events
WHEN NEW.role = '{AS_SHOWN}' AND {_BY_A_USER}
AND (NEW.request_id IS NOT NULL OR substr(NEW.event_id, 1, {len(EXPLORED_ID)}) <> '{EXPLORED_ID}') BEGIN
    INSERT INTO exposed_users (arm, user_id, shown)
        VALUES ({_ARM}, NEW.user_id, iif(NEW.request_id IS NULL, CAST(NEW.value AS INTEGER), 0))
        ON CONFLICT (arm, user_id) DO UPDATE SET shown = shown + excluded.shown WHERE excluded.shown > 0;
    INSERT INTO answers (request_id, touched, exposed)
        SELECT NEW.request_id, {BUCKET}, id FROM exposed_users
        WHERE arm = {_ARM} AND user_id = NEW.user_id AND NEW.request_id IS NOT NULL
        ON CONFLICT (request_id) DO UPDATE SET exposed = excluded.exposed WHERE exposed IS NULL;
END;
CREATE TRIGGER answer_of_an_exposed_user AFTER UPDATE ON answers
WHEN NEW.exposed IS NOT NULL AND {_COMPARED.format("OLD")} IS NOT {_COMPARED.format("NEW")} BEGIN
    UPDATE exposed_users SET
        shown = shown + NEW.shown - iif(OLD.exposed IS NULL, 0, OLD.shown),
        clicks = clicks + NEW.clicks - iif(OLD.exposed IS NULL, 0, OLD.clicks)
        WHERE id = NEW.exposed;
END;
CREATE TRIGGER event_bought_in_an_arm AFTER INSERT ON events
WHEN NEW.role = '{AS_BOUGHT}' AND {_BY_A_USER} BEGIN
    UPDATE exposed_users SET conversions = conversions + 1,
        paid = max(-{MOST_OF_AN_ANSWER}, min({MOST_OF_AN_ANSWER}, paid + NEW.paid))
        WHERE arm = {_ARM} AND user_id = NEW.user_id;
END;
"""


def add_arms(connection: sqlite3.Connection, labels: Collection[str], now: float) -> None:
    """Add the arms that events name, before the events."""
    connection.execute(
        """INSERT INTO arms (label, touched) SELECT value, ? FROM json_each(?) WHERE true
        ON CONFLICT (label) DO UPDATE SET touched = max(touched, excluded.touched)""",
        (now, orjson.dumps(list(labels)).decode()),
    )


def read_arm_totals(connection: sqlite3.Connection, labels: Sequence[str]) -> dict[str, ArmTotals]:
    """The totals of these arms; zeros for one without events."""
    rows = connection.execute(
        f"SELECT label, {', '.join(MOMENTS)} FROM arms WHERE label IN (SELECT value FROM json_each(?))",
        (orjson.dumps(list(labels)).decode(),),
    )
    found = {label: totals_of(dict(zip(MOMENTS, sums, strict=True))) for label, *sums in rows}
    return {label: found.get(label, ArmTotals()) for label in labels}


def forget_exposure(connection: sqlite3.Connection, user_id: str) -> None:
    """Remove the user's rows; the sums stay."""
    every_arm = "arm IN (SELECT arm FROM arms)"  # makes the index usable
    connection.execute(f"DELETE FROM exposed_users WHERE {every_arm} AND user_id = ?", (user_id,))


def remove_old_exposure(connection: sqlite3.Connection, now: float, oldest: float, most: int) -> int:
    """Remove at most so many users of arms without events since `oldest`, and arms long without; return how many."""
    chosen = "SELECT id FROM exposed_users WHERE arm IN (SELECT arm FROM arms WHERE touched < ?) LIMIT ?"
    removed = connection.execute(f"DELETE FROM exposed_users WHERE id IN ({chosen})", (oldest, most)).rowcount
    if removed < most:
        oldest_sums = min(oldest, now - SUMS_KEPT_DAYS * DAY_S)
        connection.execute("DELETE FROM arms WHERE touched < ?", (oldest_sums,))
    return removed
