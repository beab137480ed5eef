"""Token buckets: so many requests a second, and so many at once after a pause."""

import math
from collections.abc import Callable
from dataclasses import dataclass

MOST_BUCKETS = 65_536  # callers remembered; whoever is forgotten starts with a full bucket


@dataclass(frozen=True, slots=True)
class Rate:
    """What a caller may ask for."""

    per_s: float
    burst: int


def rate_of(per_s: float | None, burst: int | None) -> Rate | None:
    """The rate that an operator wrote; without a burst a second's worth may come at once."""
    return None if per_s is None else Rate(per_s, burst or math.ceil(per_s))


class TokenBucket:
    """The tokens of one caller. May be in debt: see `SharedTokenBuckets`."""

    __slots__ = ("at", "rate", "spent", "tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.tokens = float(rate.burst)
        self.at = now
        self.spent = 0  # since somebody last asked

    def take(self, now: float) -> float:
        """Take one token and give 0, or the seconds until there is one."""
        tokens = self.tokens + (now - self.at) * self.rate.per_s
        self.at = now
        tokens = min(tokens, self.rate.burst)
        if tokens < 1:
            self.tokens = tokens
            return (1 - tokens) / self.rate.per_s
        self.tokens = tokens - 1
        self.spent += 1
        return 0.0

    def settle(self, tokens: float, now: float) -> None:
        """Take over what all replicas together have left, less what was spent here meanwhile."""
        self.tokens, self.at = tokens - self.spent, now


class TokenBuckets:
    """One bucket a caller, by name. A request costs it a microsecond and waits for nothing."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_BUCKETS) -> None:
        self._clock = clock
        self._most = most
        self._buckets: dict[str, TokenBucket] = {}
        self.asked: dict[str, TokenBucket] | None = None  # since somebody last took this away; None: nobody does

    def take(self, name: str, rate: Rate) -> float:
        """Take one of the caller's tokens and give 0, or the seconds until there is one."""
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._new(name, rate, now)
        elif bucket.rate is not rate:  # changed while it was in use
            bucket.rate = rate
        if self.asked is not None:
            self.asked[name] = bucket
        return bucket.take(now)

    def _new(self, name: str, rate: Rate, now: float) -> TokenBucket:
        if len(self._buckets) >= self._most:  # the longest known goes: to order them by use would cost each request
            del self._buckets[next(iter(self._buckets))]
        bucket = self._buckets[name] = TokenBucket(rate, now)
        return bucket
