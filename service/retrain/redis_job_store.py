"""The job store of several replicas: Redis. Every change is one atomic script."""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Any

from service.redis.client import FAILURES, RedisClient, reason_of
from service.retrain.job import Job
from service.retrain.job_store import (
    MAX_JOBS,
    JobStoreUnavailableError,
    MessageKind,
    OnUnreadable,
    ignore_unreadable,
    parse_job,
)

TIMEOUT_S = 5.0  # no request for recommendations waits for this store

# KEYS of each script: lease, token, jobs (hash), order (sorted set), running, words (hash)
ACQUIRE_LEASE = """
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left <= 2 * ARGV[1] then return false end  -- with a later end, or none, it is no lease
local stored = redis.pcall('GET', KEYS[2]) or '0'
if type(stored) == 'table' or #stored > 15 or not string.match(stored, '^%d+$') then
    redis.call('SET', KEYS[2], redis.call('TIME')[1] .. '000')  -- the time is above every count
end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
"""
RENEW_LEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
RELEASE_LEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
SUBMIT = """
local running = redis.call('GET', KEYS[5])
local record = running and redis.call('HGET', KEYS[3], running)
if record then return record end
redis.call('SET', KEYS[5], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
local old = redis.call('ZRANGE', KEYS[4], 0, -1 - tonumber(ARGV[4]))
for _, id in ipairs(old) do
    redis.call('HDEL', KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[6], id .. ' cancel', id .. ' result')
end
return false
"""
SAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('HEXISTS', KEYS[3], ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
if ARGV[4] == 'ended' and redis.call('GET', KEYS[5]) == ARGV[2] then redis.call('DEL', KEYS[5]) end
return 1
"""
RUNNING = """
local running = redis.call('GET', KEYS[5])
return running and redis.call('HGET', KEYS[3], running)
"""
# A record that cannot be read no longer counts as running, unless it was replaced meanwhile.
SET_ASIDE = """
local running = redis.call('GET', KEYS[5])
local record = running and redis.call('HGET', KEYS[3], running)
if record and redis.sha1hex(record) == ARGV[1] then redis.call('DEL', KEYS[5]) end
return 0
"""
NEWEST = """
local ids = redis.call('ZREVRANGE', KEYS[4], 0, tonumber(ARGV[1]) - 1)
return #ids > 0 and redis.call('HMGET', KEYS[3], unpack(ids)) or {}
"""


class RedisJobStore:
    """A JobStore. All its keys share one slot of a cluster."""

    def __init__(self, redis: RedisClient, namespace: str, on_unreadable: OnUnreadable = ignore_unreadable) -> None:
        self._redis = redis
        self._on_unreadable = on_unreadable
        names = ("lease", "token", "jobs", "order", "running", "words")
        self._keys = [f"{{{namespace}:retrain}}:{name}" for name in names]
        self._jobs, self._messages = self._keys[2], self._keys[5]

    async def acquire_lease(self, ttl_s: float) -> int | None:
        token = await self._run(ACQUIRE_LEASE, _ms(ttl_s))
        return token and int(token)

    async def renew_lease(self, token: int, ttl_s: float) -> bool:
        return bool(await self._run(RENEW_LEASE, token, _ms(ttl_s)))

    async def release_lease(self, token: int) -> None:
        await self._run(RELEASE_LEASE, token)

    async def submit(self, job: Job) -> Job | None:
        arguments = job.id, job.model_dump_json(), repr(job.created_at), MAX_JOBS
        record = await self._run(SUBMIT, *arguments)
        if record is not None and await self._parse_running(record) is None:
            record = await self._run(SUBMIT, *arguments)
        return None if record is None else parse_job(record, self._on_unreadable)

    async def save(self, job: Job, token: int) -> bool:
        state = "ended" if job.has_ended else "running"
        return bool(await self._run(SAVE, token, job.id, job.model_dump_json(), state))

    async def running(self) -> Job | None:
        record = await self._run(RUNNING)
        return None if record is None else await self._parse_running(record)

    async def find(self, job_id: str) -> Job | None:
        record = await self._await_reply(self._redis.hget(self._jobs, job_id))
        return None if record is None else parse_job(record, self._on_unreadable)

    async def newest(self, limit: int) -> Sequence[Job]:
        records = await self._run(NEWEST, limit)
        jobs = (parse_job(record, self._on_unreadable) for record in records if record is not None)
        return [job for job in jobs if job is not None]

    async def post_message(self, job_id: str, kind: MessageKind, text: str) -> bool:
        return bool(await self._await_reply(self._redis.hsetnx(self._messages, f"{job_id} {kind}", text)))

    async def messages(self, job_id: str) -> dict[str, str]:
        kinds: tuple[MessageKind, ...] = ("cancel", "result")
        found = await self._await_reply(self._redis.hmget(self._messages, [f"{job_id} {kind}" for kind in kinds]))
        return {
            kind: text.decode(errors="replace") for kind, text in zip(kinds, found, strict=True) if text is not None
        }

    async def close(self) -> None:
        await self._await_reply(self._redis.aclose())

    async def _parse_running(self, record: bytes) -> Job | None:
        """The job of the running record; a record that is none makes room for the next job."""
        job = parse_job(record, self._on_unreadable)
        if job is None:
            await self._run(SET_ASIDE, hashlib.sha1(record, usedforsecurity=False).hexdigest())
        return job

    async def _run(self, script: str, *arguments: object) -> Any:
        return await self._await_reply(self._redis.eval(script, len(self._keys), *self._keys, *map(str, arguments)))

    async def _await_reply(self, reply: Any) -> Any:
        awaitable: Awaitable[Any] = reply
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await awaitable
        except FAILURES as error:
            raise JobStoreUnavailableError(f"the job store does not respond: {reason_of(error)}") from error


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
