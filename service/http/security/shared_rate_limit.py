"""One rate for all replicas, kept in Redis, without a request ever waiting for it.

Each replica answers from its own buckets and tells Redis several times a second what was spent; Redis holds the sum
and says what is left, which every replica takes over. Between two such moments replicas do not know of each other, so
together they may give more than a caller's burst; the excess is a debt in Redis that is paid back before anything more
is given. Over time the rate is exact. Without Redis every replica keeps the full rate by itself.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from service.http.security.rate_limit import TokenBucket, TokenBuckets
from service.redis.client import FAILURES, RedisClient, within
from service.telemetry.metrics import Metrics

EVERY_S = 0.1
RETRY_S = 1.0
BUDGET_S = 1.0  # nobody waits for it
MOST_AT_ONCE = 1_024  # callers a round trip

# By Redis's own clock, as those of replicas differ. What is not of this shape under the key is replaced.
SPEND = """
local rate, burst, spent = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.pcall('HMGET', KEYS[1], 'tokens', 'at')
if kept.err then redis.call('DEL', KEYS[1]); kept = {} end
local tokens, at = tonumber(kept[1] or burst) or burst, tonumber(kept[2] or now) or now
tokens = math.min(burst, tokens + math.max(0, now - at) * rate) - spent
tokens = math.max(tokens, -10 * burst)
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * (burst - tokens) / rate) + 1000)
return tostring(tokens)
"""

log = structlog.get_logger()


class SharedTokenBuckets:
    """Keeps the buckets of this replica in step with those of all others."""

    def __init__(
        self, buckets: TokenBuckets, redis: RedisClient, namespace: str, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._buckets = buckets
        buckets.asked = {}
        self._redis = redis
        self._namespace = namespace
        self._clock = clock
        self._outcomes = {outcome: metrics.rate_limit_syncs.labels(outcome) for outcome in ("done", "error")}
        self._alone = False

    async def keep_in_step(self) -> None:
        """Settle with Redis again and again."""
        while True:
            await asyncio.sleep(RETRY_S if self._alone else EVERY_S)
            await self.settle()

    async def settle(self) -> None:
        """Tell Redis what was spent since the last time and take over what is left."""
        asked, self._buckets.asked = self._buckets.asked or {}, {}
        names = list(asked)
        for start in range(0, len(names), MOST_AT_ONCE):
            await self._settle({name: asked[name] for name in names[start : start + MOST_AT_ONCE]})

    async def _settle(self, asked: Mapping[str, TokenBucket]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for name, bucket in asked.items():
            key = f"{self._namespace}:rate:{name}"
            pipeline.eval(SPEND, 1, key, repr(bucket.rate.per_s), str(bucket.rate.burst), str(bucket.spent))
            bucket.spent = 0  # told, or forgotten where Redis does not answer: an outage leaves no debt
        try:
            replies = await within(pipeline.execute(), BUDGET_S)
        except FAILURES as error:
            self._failed(error)
            return
        now = self._clock()
        for bucket, reply in zip(asked.values(), replies, strict=True):
            bucket.settle(float(reply), now)
        self._alone = False
        self._outcomes["done"].inc()

    def _failed(self, error: Exception) -> None:
        self._outcomes["error"].inc()
        if not self._alone:  # said once an outage
            log.warning("rate limits are kept by this replica alone", error=repr(error)[:200])
        self._alone = True
