"""Rate limits by token bucket: a number of requests per second, and a burst after a pause."""

import math
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 65_536  # callers; an evicted one starts with a full bucket


@dataclass(frozen=True, slots=True)
class Rate:
    """The requests that a caller may make."""

    per_s: float
    burst: int


def rate_of(per_s: float | None, burst: int | None) -> Rate | None:
    """The configured rate; the default burst is the requests of one second."""
    return None if per_s is None else Rate(per_s, burst or math.ceil(per_s))


class TokenBucket:
    """The tokens of one caller; negative where replicas together gave too many."""

    __slots__ = ("at", "rate", "spent", "tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self.tokens = float(rate.burst)
        self.at = now
        self.spent = 0  # since the last sync

    def take(self, now: float) -> float:
        """Take one token and return 0, or the seconds until one is available."""
        wait_s = self._wait_s(now, 1)
        if not wait_s:
            self.tokens -= 1
            self.spent += 1
        return wait_s

    def take_more(self, now: float, n: int) -> float:
        """Take n more tokens for the same request and return 0, or the seconds until they are available.

        Of a request that costs more than a full bucket, the rest is a debt that later requests wait for.
        """
        wait_s = self._wait_s(now, min(n, self.rate.burst - 1))
        if not wait_s:
            self.tokens -= n
            self.spent += n
        return wait_s

    def _wait_s(self, now: float, n: float) -> float:
        """The seconds until n tokens are available."""
        self.tokens = min(self.tokens + (now - self.at) * self.rate.per_s, self.rate.burst)
        self.at = now
        return max(0.0, n - self.tokens) / self.rate.per_s

    def set_remaining(self, tokens: float, now: float) -> None:
        """Set the tokens that all replicas together have left, less those spent here meanwhile."""
        self.tokens, self.at = tokens - self.spent, now


class TokenBuckets:
    """One bucket for each caller, by name. A request costs a microsecond and never waits."""

    def __init__(self, clock: Callable[[], float], max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: dict[str, TokenBucket] = {}
        self.used: dict[str, TokenBucket] | None = None  # since the last sync; None: not recorded

    def take(self, name: str, rate: Rate) -> float:
        """Take one of the caller's tokens and return 0, or the seconds until one is available."""
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._new(name, rate, now)
        elif bucket.rate is not rate:  # the configuration changed
            bucket.rate = rate
        if self.used is not None:
            self.used[name] = bucket
        return bucket.take(now)

    def take_more(self, name: str, rate: Rate, n: int) -> float:
        """Take n more tokens for a request whose first token was taken, as TokenBucket.take_more."""
        bucket = self._buckets.get(name)
        if bucket is None:  # evicted since
            return 0.0
        if self.used is not None:
            self.used[name] = bucket
        return bucket.take_more(self._clock(), n)

    def _new(self, name: str, rate: Rate, now: float) -> TokenBucket:
        if len(self._buckets) >= self._max_buckets:  # evict the oldest: ordering by use would cost every request
            del self._buckets[next(iter(self._buckets))]
        bucket = self._buckets[name] = TokenBucket(rate, now)
        return bucket
