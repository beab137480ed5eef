"""A window of time, divided into what the logs have as sums of days and what they count by bucket."""

from typing import NamedTuple

BUCKET_S = 300  # windows begin and end at multiples of this: 288 counts a day for each kind and bundle
DAY_S = 86_400
FOREVER = 253_402_300_800  # the end of a window without one: the year 10000, in unix seconds


class Span(NamedTuple):
    """From its first to before its last; empty where they are equal."""

    first: int
    end: int


class Divided(NamedTuple):
    """The whole days of a window by their numbers (UTC, from 1970 on), and the buckets before and after them."""

    before: Span  # in unix seconds
    days: Span
    after: Span  # in unix seconds


def bucket_of(timestamp: float) -> int:
    """The start of the bucket that the time falls into."""
    return int(timestamp // BUCKET_S) * BUCKET_S


def divided(since: float, until: float = FOREVER) -> Divided:
    """Divide the window of the buckets that begin at or after that of `since` and before that of `until`."""
    first, end = bucket_of(since), bucket_of(until)
    first_day, end_day = -(-first // DAY_S), end // DAY_S
    if first_day > end_day:  # within one day
        return Divided(Span(first, end), Span(0, 0), Span(end, end))
    return Divided(Span(first, first_day * DAY_S), Span(first_day, end_day), Span(end_day * DAY_S, end))
