"""The fields of counts in Redis; ValueError where another program wrote one."""

from math import isfinite

from service.events.log import EventCount

MOST_COUNTED = 2**53  # of one name in a bucket or a day; JSON holds the sum of hundreds of them


def decode_count(field: tuple[bytes, bytes]) -> tuple[int, EventCount]:
    """The bucket and the count of a field of a day's buckets."""
    bucket, name, bundle = field[0].decode().split(":", 2)
    return int(bucket), EventCount(bundle, name, _count(field[1]))


def decode_sum(field: tuple[bytes, bytes]) -> EventCount:
    """The count of a field of a day's sums."""
    name, bundle = field[0].decode().split(":", 1)
    return EventCount(bundle, name, _count(field[1]))


def decode_moment(field: tuple[bytes, bytes]) -> tuple[str, float]:
    """The name and the sum of a field of an arm."""
    found = float(field[1])
    if not isfinite(found):
        raise ValueError("expected a sum that is a number")
    return field[0].decode(), found


def _count(text: bytes) -> int:
    n = int(text)
    if not -MOST_COUNTED <= n <= MOST_COUNTED:
        raise ValueError(f"expected a count of at most {MOST_COUNTED}")
    return n
