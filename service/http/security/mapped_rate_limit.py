"""Rate limits that the workers of one machine share: buckets in memory that all of them map.

A caller's bucket is in one of WAYS places, which its name's hash chooses; a place holds the hash, tokens and time. A
caller that finds none takes that of the caller that has paused for longest, which then starts with a full bucket.
"""

import struct
from collections.abc import Callable

from service.http.security.rate_limit import Rate, TokenBucket
from service.workers.shared_memory import BUCKET_WORDS, BUCKETS, WORD, SharedBuckets

WAYS = 8
GROUPS = BUCKETS // WAYS
PLACE = struct.Struct("=qdd")  # hash, 0 where the place is free; tokens; when they were counted
GROUP = struct.Struct("=" + "qdd" * WAYS)

assert PLACE.size == BUCKET_WORDS * WORD


class MappedTokenBuckets:
    """The interface of TokenBuckets, for all workers together; a request costs some ten microseconds.

    `clock` gives seconds that all processes of the machine agree on, such as time.monotonic.
    """

    def __init__(self, shared: SharedBuckets, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._clock = clock

    def take(self, name: str, rate: Rate) -> float:
        """Take one of the caller's tokens and return 0, or the seconds until one is available."""
        return self._take(name, rate, lambda bucket, now: bucket.take(now))

    def take_more(self, name: str, rate: Rate, n: int) -> float:
        """Take n more tokens for a request whose first token was taken, as TokenBucket.take_more."""
        return self._take(name, rate, lambda bucket, now: bucket.take_more(now, n))

    def _take(self, name: str, rate: Rate, take: Callable[[TokenBucket, float], float]) -> float:
        name_hash = hash(name) or 1  # forked processes hash alike
        group = name_hash % GROUPS * GROUP.size
        with self._shared.locked(group, GROUP.size):
            now = self._clock()
            bucket = TokenBucket(rate, now)
            found = GROUP.unpack_from(self._shared.words, group)
            hashes, times = found[0::3], found[2::3]
            if name_hash in hashes:
                place = hashes.index(name_hash)
                bucket.tokens, bucket.at = found[3 * place + 1], times[place]
            else:
                place = times.index(min(times))
            wait_s = take(bucket, now)
            PLACE.pack_into(self._shared.words, group + place * PLACE.size, name_hash, bucket.tokens, bucket.at)
        return wait_s
