"""Reads the service's event log, as `python -m service export-events` writes it, as interactions."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from index.errors import InputError
from index.forgotten import ForgottenPeople
from index.reading import open_file
from trainer.datasets.times import TimeOptions, read_times
from trainer.parquet import PARSER_ERRORS, first_line

COLUMNS = pl.Schema(
    {
        "event_id": pl.String,
        "user_id": pl.String,
        "item_id": pl.String,
        "kind": pl.String,
        "timestamp": pl.Int64,  # unix seconds, written as any number
        "position": pl.Int64,
    }
)
DEFAULT_POSITIVE = ("click", "like", "purchase")
DEFAULT_NEGATIVE = ("dislike",)
KIND = re.compile(r"(?!(impression|forgotten)$)[a-z][a-z0-9_.-]{0,31}")  # those two are no act of a user


@dataclass(frozen=True)
class UserFeedback:
    """The latest feedback of each user on each item."""

    pairs: pl.DataFrame
    """user_id, item_id, timestamp (unix seconds, of the first positive event), liked (false: the latest event
    is a dislike); one row a pair, in the order of the log."""
    counts: dict[str, int]
    last_position: int
    """Of the newest event in the file, of whatever kind; 0 in an empty file."""


def event_files(path: Path) -> list[Path]:
    """The file itself, or the .parquet files of a folder by name; InputError where there is none."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise InputError(f"no such file of events, nor a folder with .parquet files: {path}")
    return files


def read_feedback(
    path: Path,
    positive: Collection[str] = DEFAULT_POSITIVE,
    negative: Collection[str] = DEFAULT_NEGATIVE,
    forgotten: ForgottenPeople | None = None,
) -> UserFeedback:
    """Read events of the `positive` kinds, and of `negative` ones, which cancel earlier events on a pair.

    Events of forgotten people are left out up to the position at which they were forgotten.

    `path` is one file, or a folder of files that may overlap; events of other kinds are ignored. InputError: no such
    file, no Parquet, a column missing or of another type, a name that no kind can have, an impossible time.
    """
    _check_kinds(positive, negative)
    events = pl.concat([_read(file) for file in event_files(path)])
    last_position = 0 if events.is_empty() else int(events["position"].max())  # type: ignore[arg-type]
    once = events.sort("position").unique("event_id", keep="first", maintain_order=True)
    n_distinct = len(once)
    once = _without(once, forgotten or ForgottenPeople())
    relevant = once.filter(pl.col("kind").is_in([*positive, *negative]))
    return UserFeedback(
        pairs=_latest_feedback(relevant, negative),
        counts={
            "events_read": len(events),
            "events_repeated": len(events) - n_distinct,
            "events_of_forgotten_people": n_distinct - len(once),
            "events_of_other_kinds": len(once) - len(relevant),
        },
        last_position=last_position,
    )


def _read(file: Path) -> pl.DataFrame:
    try:
        with open_file(file) as content:
            schema = pl.read_parquet_schema(content)
            if missing := [name for name in COLUMNS if name not in schema]:
                raise InputError(f"it lacks the columns {', '.join(missing)}; found {', '.join(schema)}")
            content.seek(0)
            written = pl.read_parquet(content, columns=list(COLUMNS))
        times = read_times(written["timestamp"], TimeOptions("s")).seconds
        events = written.with_columns(times).cast(dict(COLUMNS))  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except PARSER_ERRORS as error:
        raise InputError(f"{file} cannot be read as exported events: {first_line(error)}") from error
    if len(strange := written.filter(events.select(pl.any_horizontal(pl.all().is_null())).to_series())):
        raise InputError(
            f"{file}: {len(strange):,} events lack a value or have a time that is not between 1970 and 2100,"
            f" first {strange.row(0, named=True)}; expected none"
        )
    return events


def _without(events: pl.DataFrame, forgotten: ForgottenPeople) -> pl.DataFrame:
    people = forgotten.positions(events["user_id"].unique().to_list())
    until = pl.col("user_id").replace_strict(people, default=-1, return_dtype=pl.Int64)
    return events.filter(pl.col("position") > until) if people else events


def _check_kinds(positive: Collection[str], negative: Collection[str]) -> None:
    wrong = [kind for kind in (*positive, *negative) if not KIND.fullmatch(kind)]
    if wrong or not positive:
        found = f"{wrong[0]:.80}" if wrong else "none"
        raise InputError(f"expected kinds of events such as click,like,purchase; found {found}")
    if both := sorted(set(positive) & set(negative)):
        raise InputError(f"kinds are positive or negative; found {', '.join(both)} among both")


def _latest_feedback(events: pl.DataFrame, negative: Collection[str]) -> pl.DataFrame:
    """The order of the log counts, not the timestamps: clients' clocks differ."""
    is_like = ~pl.col("kind").is_in(list(negative))
    return events.group_by("user_id", "item_id", maintain_order=True).agg(
        pl.col("timestamp").filter(is_like).first(),
        is_like.last().alias("liked"),
    )
