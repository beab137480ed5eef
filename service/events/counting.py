"""How the SQLite log counts events for /quality: triggers, in the transaction that adds the events.

The rules are those of quality.py; the Redis log has the same ones in stream_scripts.py.
"""

import sqlite3

from service.events.event import AS_BOUGHT, AS_CLICKED, AS_SHOWN, THOUSAND
from service.events.quality import ANSWERS, CLICKED, CONVERSIONS, HITS, REVENUE, SHOWN, UNKNOWN_BUNDLE
from service.events.window import BUCKET_S, DAY_S

COUNTING_TABLE = "answer_items"
ROLES = (AS_SHOWN, AS_CLICKED, AS_BOUGHT)  # columns of answer_items, and what `role` of an event may be
MOST_OF_AN_ANSWER = 10**12 * THOUSAND  # paid; sums of it stay within SQLite's and Lua's whole numbers
FIGURES = {  # names of counts, from the columns of answers
    ANSWERS: "1",
    SHOWN: "{0}.shown",
    CLICKED: "{0}.clicks",
    HITS: "({0}.clicks > 0)",
    CONVERSIONS: "{0}.conversions",
    REVENUE: "{0}.revenue",
}

BUCKET = f"CAST(NEW.timestamp / {BUCKET_S} AS INTEGER) * {BUCKET_S}"
_LABEL = f"""CASE WHEN NEW.bundle IS NULL THEN ''
            WHEN NEW.bundle IN (SELECT bundle FROM bundles) THEN NEW.bundle ELSE '{UNKNOWN_BUNDLE}' END"""
RECENT = "NEW.timestamp >= NEW.accepted_at - (SELECT counted_s FROM state)"
_ADD = "ON CONFLICT (bucket, bundle, name) DO UPDATE SET n = n + excluded.n"


def _joined(column: str) -> str:
    """How many items of this column were shown: by name, or else at most as many as were shown without one."""
    return f"{column}_named + min({column} - {column}_named, max(0, listed - named))"


def _figures(row: str, sign: str) -> str:
    return " UNION ALL ".join(
        f"SELECT {row}.bucket AS bucket, {row}.bundle AS bundle, '{name}' AS name, {sign}{amount.format(row)} AS n"
        for name, amount in FIGURES.items()
    )


_ROLE_VALUES = ", ".join(f"NEW.role = '{role}'" for role in ROLES)
_ROLE_UPDATES = ", ".join(f"{role} = max({role}, excluded.{role})" for role in ROLES)
_IS_IMPRESSION = f"NEW.role = '{AS_SHOWN}'"
_PAID = f"(NEW.role = '{AS_BOUGHT}') * NEW.paid"
# SQLite's JSON ends a string at a NUL: an answer with such an item counts as one without names.
_ITEMS = """SELECT NEW.item_id AS item WHERE NEW.item_id <> ''
            UNION SELECT value FROM json_each(iif(instr(NEW.items, '\\u0000'), NULL, NEW.items))"""
_BEFORE_AND_AFTER = ", ".join(
    f"ifnull({role}, 0) AS {role}_before, max(ifnull({role}, 0), NEW.role = '{role}') AS {role}_after" for role in ROLES
)
# By how much each column of answers grows: items that get a role, and items that have two roles from now on.
_CHANGES = f"""SELECT
            ifnull(sum(shown_after - shown_before), 0) AS new_shown,
            ifnull(sum(clicked_after - clicked_before), 0) AS new_clicked,
            ifnull(sum(clicked_after * shown_after - clicked_before * shown_before), 0) AS new_clicked_named,
            ifnull(sum(bought_after - bought_before), 0) AS new_bought,
            ifnull(sum(bought_after * shown_after - bought_before * shown_before), 0) AS new_bought_named,
            ifnull(sum(paid_after - paid_before), 0) AS new_paid,
            ifnull(sum(paid_after * shown_after - paid_before * shown_before), 0) AS new_paid_named
            FROM (SELECT {_BEFORE_AND_AFTER},
                ifnull(paid, 0) AS paid_before, ifnull(paid, 0) + {_PAID} AS paid_after FROM ({_ITEMS})
                LEFT JOIN {COUNTING_TABLE} ON request_id = NEW.request_id AND item_id = item)"""
_COMPARED = "({0}.bucket, {0}.bundle, {0}.shown, {0}.clicks, {0}.conversions, {0}.revenue)"


def _added(column: str) -> str:
    return f"{column} = max(-{MOST_OF_AN_ANSWER}, min({MOST_OF_AN_ANSWER}, {column} + new_{column}))"


# An answer without a bucket has had no impression. `touched` is the latest bucket of its events, for its removal.
COUNTING = f"""
DROP TRIGGER IF EXISTS event_counted;
DROP TRIGGER IF EXISTS event_of_an_answer;
DROP TABLE IF EXISTS answers;
ALTER TABLE events ADD COLUMN items TEXT;
ALTER TABLE state ADD COLUMN counted_s REAL NOT NULL DEFAULT 0;

CREATE TABLE sums (
    day INTEGER NOT NULL, bundle TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (day, bundle, name)
) STRICT, WITHOUT ROWID;
INSERT INTO sums SELECT bucket / {DAY_S}, bundle, name, sum(n) FROM counts GROUP BY 1, 2, 3;
CREATE TRIGGER count_added AFTER INSERT ON counts BEGIN
    INSERT INTO sums VALUES (NEW.bucket / {DAY_S}, NEW.bundle, NEW.name, NEW.n)
        ON CONFLICT (day, bundle, name) DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER count_changed AFTER UPDATE ON counts BEGIN
    UPDATE sums SET n = n + NEW.n - OLD.n
        WHERE day = NEW.bucket / {DAY_S} AND bundle = NEW.bundle AND name = NEW.name;
END;

CREATE TABLE bundles (bundle TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE answers (
    request_id TEXT PRIMARY KEY, touched INTEGER NOT NULL, bucket INTEGER, bundle TEXT NOT NULL DEFAULT '',
    listed INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0,
    clicked INTEGER NOT NULL DEFAULT 0, clicked_named INTEGER NOT NULL DEFAULT 0,
    bought INTEGER NOT NULL DEFAULT 0, bought_named INTEGER NOT NULL DEFAULT 0,
    shown INTEGER AS (max(named, listed)),
    clicks INTEGER AS ({_joined("clicked")}),
    conversions INTEGER AS ({_joined("bought")})
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (touched);
CREATE TABLE {COUNTING_TABLE} (
    request_id TEXT NOT NULL, item_id TEXT NOT NULL,
    shown INTEGER NOT NULL, clicked INTEGER NOT NULL, bought INTEGER NOT NULL,
    PRIMARY KEY (request_id, item_id)
) STRICT, WITHOUT ROWID;
"""

# Version 2: what an event is to its answer stands in its row, as kinds are the operator's; revenue.
REVENUE_AND_ROLES = f"""
DROP TRIGGER IF EXISTS event_counted;
DROP TRIGGER IF EXISTS event_of_an_answer;
DROP TRIGGER IF EXISTS answer_changed;
ALTER TABLE events ADD COLUMN role TEXT;
ALTER TABLE events ADD COLUMN paid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE {COUNTING_TABLE} ADD COLUMN paid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE answers ADD COLUMN paid INTEGER NOT NULL DEFAULT 0;
ALTER TABLE answers ADD COLUMN paid_named INTEGER NOT NULL DEFAULT 0;
ALTER TABLE answers ADD COLUMN revenue INTEGER AS (paid_named + iif(bought = bought_named, 0,
    (paid - paid_named) * min(bought - bought_named, max(0, listed - named)) / (bought - bought_named)));

CREATE TRIGGER event_counted AFTER INSERT ON events WHEN {RECENT} BEGIN
    INSERT INTO counts VALUES ({BUCKET}, {_LABEL}, NEW.kind, 1) {_ADD};
END;
CREATE TRIGGER event_of_an_answer AFTER INSERT ON events
WHEN NEW.request_id IS NOT NULL AND NEW.role IS NOT NULL AND {RECENT} BEGIN
    INSERT INTO answers (request_id, touched) VALUES (NEW.request_id, {BUCKET})
        ON CONFLICT (request_id) DO UPDATE SET touched = max(touched, excluded.touched);
    UPDATE answers SET
        bucket = CASE WHEN {_IS_IMPRESSION} THEN min(ifnull(bucket, {BUCKET}), {BUCKET}) ELSE bucket END,
        bundle = CASE WHEN {_IS_IMPRESSION} THEN max(bundle, {_LABEL}) ELSE bundle END,
        listed = CASE WHEN {_IS_IMPRESSION} THEN max(listed, CAST(NEW.value AS INTEGER)) ELSE listed END,
        named = named + new_shown,
        clicked = clicked + new_clicked, clicked_named = clicked_named + new_clicked_named,
        bought = bought + new_bought, bought_named = bought_named + new_bought_named,
        {_added("paid")}, {_added("paid_named")}
        FROM ({_CHANGES}) WHERE request_id = NEW.request_id;
    INSERT INTO {COUNTING_TABLE} (request_id, item_id, {", ".join(ROLES)}, paid)
        SELECT NEW.request_id, item, {_ROLE_VALUES}, {_PAID} FROM ({_ITEMS}) WHERE true
        ON CONFLICT (request_id, item_id) DO UPDATE SET {_ROLE_UPDATES}, paid = paid + excluded.paid;
END;
CREATE TRIGGER answer_changed AFTER UPDATE ON answers
WHEN NEW.bucket IS NOT NULL AND {_COMPARED.format("OLD")} IS NOT {_COMPARED.format("NEW")} BEGIN
    INSERT INTO counts SELECT bucket, bundle, name, sum(n) FROM (
            {_figures("NEW", "")} UNION ALL {_figures("OLD", "-")}
        ) WHERE bucket IS NOT NULL GROUP BY bucket, bundle, name HAVING sum(n) <> 0
        {_ADD};
END;
"""


# Of whole days their sums, else the buckets: the time does not grow with the window. Takes the ends of what
# window.divided gives, in its order.
COUNTS_OF_WINDOW = """
SELECT bundle, name, sum(n) FROM (
    SELECT bundle, name, n FROM counts WHERE bucket >= ?1 AND bucket < ?2
    UNION ALL SELECT bundle, name, n FROM sums WHERE day >= ?3 AND day < ?4
    UNION ALL SELECT bundle, name, n FROM counts WHERE bucket >= ?5 AND bucket < ?6
) GROUP BY bundle, name
"""


def remove_old_counts(connection: sqlite3.Connection, oldest_bucket: int, most: int) -> int:
    """Remove the counts, and at most so many answers, of before the bucket; return how many answers."""
    chosen = "SELECT request_id FROM answers WHERE touched < ? ORDER BY touched, request_id LIMIT ?"
    for table in (COUNTING_TABLE, "answers"):
        removed = connection.execute(f"DELETE FROM {table} WHERE request_id IN ({chosen})", (oldest_bucket, most))
    connection.execute("DELETE FROM counts WHERE bucket < ?", (oldest_bucket,))
    connection.execute("DELETE FROM sums WHERE day < ?", (oldest_bucket // DAY_S,))
    return removed.rowcount
