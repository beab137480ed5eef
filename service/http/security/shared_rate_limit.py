"""Shares rate limits between replicas through Redis; no request waits for Redis.

Each replica decides from its own buckets and reports the spent tokens to Redis several times a second; Redis holds the
sum and returns what is left. Between two syncs replicas together may admit more than a caller's burst; the excess is a
debt in Redis that must be paid back before more requests are admitted, so over time the rate is exact. Without Redis
each replica allows the full rate.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from service.http.security.rate_limit import TokenBucket, TokenBuckets
from service.redis.client import FAILURES, RedisClient, reason_of, within
from service.telemetry.metrics import SecurityMetrics

SYNC_S = 0.1
RETRY_S = 1.0
BUDGET_S = 1.0  # no request waits for it
MAX_CALLERS_PER_ROUND_TRIP = 1_024

# Uses the clock of Redis, as those of replicas differ. A value of another shape under the key is replaced; the second
# reply says whether there was one.
SPEND = """
local rate, burst, spent = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local stored = redis.pcall('HMGET', KEYS[1], 'tokens', 'at')
local replaced = stored.err and 1 or 0
if stored.err then redis.call('DEL', KEYS[1]); stored = {} end
local tokens, at = tonumber(stored[1] or burst), tonumber(stored[2] or now)
if not (tokens and tokens == tokens) or not (at and at == at) then replaced = 1 end
if not (tokens and tokens >= -10 * burst and tokens <= burst) then tokens = burst end
if not (at and at <= now) then at = now end
tokens = math.min(burst, tokens + math.max(0, now - at) * rate) - spent
tokens = math.max(tokens, -10 * burst - spent)
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * (burst - tokens) / rate) + 1000)
return {tostring(tokens), replaced}
"""

log = structlog.get_logger()


class SharedTokenBuckets:
    """Synchronizes the buckets of this replica with those of the others."""

    def __init__(
        self,
        buckets: TokenBuckets,
        redis: RedisClient,
        namespace: str,
        metrics: SecurityMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._buckets = buckets
        buckets.used = {}
        self._redis = redis
        self._namespace = namespace
        self._clock = clock
        self._unreadable = metrics.unreadable
        self._outcomes = {outcome: metrics.rate_limit_syncs.labels(outcome) for outcome in ("done", "error")}
        self._unavailable = False

    async def sync_forever(self) -> None:
        """Sync several times a second; while Redis is unavailable, once a second."""
        while True:
            await asyncio.sleep(RETRY_S if self._unavailable else SYNC_S)
            await self.sync()

    async def sync(self) -> None:
        """Report the tokens spent since the last sync, and set the buckets to what is left."""
        used, self._buckets.used = self._buckets.used or {}, {}
        names = list(used)
        for start in range(0, len(names), MAX_CALLERS_PER_ROUND_TRIP):
            await self._sync({name: used[name] for name in names[start : start + MAX_CALLERS_PER_ROUND_TRIP]})

    async def _sync(self, used: Mapping[str, TokenBucket]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for name, bucket in used.items():
            key = f"{self._namespace}:rate:{name}"
            pipeline.eval(SPEND, 1, key, repr(bucket.rate.per_s), str(bucket.rate.burst), str(bucket.spent))
            bucket.spent = 0  # even if Redis does not reply: an outage leaves no debt
        try:
            replies = await within(pipeline.execute(raise_on_error=False), BUDGET_S)
        except FAILURES as error:
            self._failed(error)
            return
        now, failed = self._clock(), None
        for bucket, reply in zip(used.values(), replies, strict=True):
            if isinstance(reply, Exception):  # the server refuses, or a value of another program spoils the script
                failed = reply
            else:
                remaining, replaced = reply
                bucket.set_remaining(float(remaining), now)
                if replaced:
                    self._unreadable.skip("rates", ValueError("expected tokens and the time they were counted at"))
        if failed is not None:
            self._failed(failed)
            return
        self._unavailable = False
        self._outcomes["done"].inc()

    def _failed(self, error: Exception) -> None:
        self._outcomes["error"].inc()
        if not self._unavailable:  # logged once per outage
            log.warning("rate limits are not shared with other replicas: Redis is unavailable", error=reason_of(error))
        self._unavailable = True
