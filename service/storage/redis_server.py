"""Sends commands to the Redis server that holds a durable store; writes are on its disk when they return."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand

from index.errors import InputError
from service.background import start_worker
from service.redis.check import is_refusal
from service.redis.client import FAILURES, RedisClient, connect, reason_of, refresh, within
from service.settings import EventSettings
from service.storage.group_commit import CommitNames
from service.storage.unavailable import StoreUnavailable
from service.telemetry.task_metrics import TaskMetrics

WRONG_TYPE = "WRONGTYPE"  # the start of Redis's error for a key of another type
CLOSE_S = 1.0  # so that a hanging server cannot delay the service's stop
RETRY_S = 0.1  # between two attempts of a write, and the least time of the last one
SAFE_POLICY = "noeviction"  # any other may evict what is stored
UNSAFE = "UNSAFE"  # in the error of REQUIRE_SAFE

# Stands before a script and ends it with an error where this server may lose what it is given, or where that cannot be
# seen: the server that is asked is the one that writes, whatever was connected, elected or configured meanwhile.
REQUIRE_SAFE = """
local function risks()
    local found = ''
    for _, expected in ipairs({
        {'persistence', 'aof_enabled:(%w+)', '1', 'appendonly is off'},
        {'memory', 'maxmemory_policy:([%w-]+)', 'noeviction', 'maxmemory-policy is '},
    }) do
        local info = redis.pcall('INFO', expected[1])
        if type(info) == 'table' then return ', this cannot be checked: ' .. info.err end
        local value = string.match(info, expected[2]) or 'unknown'
        if value ~= expected[3] then
            found = found .. ', ' .. expected[4] .. (expected[1] == 'memory' and value or '')
        end
    end
    return found
end
local unsafe = risks()
if unsafe ~= '' then return redis.error_reply('UNSAFE this Redis may lose data' .. unsafe) end
"""

log = structlog.get_logger()


class RedisServer:
    """Executes commands on the server that holds `key`: a single one, Sentinel's master, or a node of a cluster.

    A write is acknowledged once Redis has synced it to disk, there (`event_log_safe`) and on `event_log_replicas`.
    """

    def __init__(
        self, client: RedisClient, key: str, settings: EventSettings, names: CommitNames, metrics: TaskMetrics
    ) -> None:
        self._client = client
        self._key = key
        self._settings = settings
        self._names = names
        self._timeout_s = settings.event_log_timeout_s
        self._metrics = metrics
        self._rediscovery: asyncio.Task[None] | None = None
        self._failing_since: float | None = None  # by the monotonic clock; None while writes succeed

    async def execute(
        self, *commands: tuple[Any, ...], timeout_s: float | None = None, independent: bool = False, quiet: bool = False
    ) -> list[Any]:
        """Send the commands together on one connection and return their replies; the store's error where one fails.

        Independent commands belong to different requests: a key of a wrong type then fails its own command only.
        """
        try:
            replies = await within(self._send(commands), timeout_s or self._timeout_s)
            for reply in replies:
                if isinstance(reply, Exception) and not (independent and str(reply).startswith(WRONG_TYPE)):
                    raise reply
        except FAILURES as error:
            self._start_rediscovery()
            if not quiet:
                log.warning("store failed", store=self._names.store, error=reason_of(error))
            raise self._names.unavailable(f"the {self._names.store}'s Redis failed: {reason_of(error)}") from error
        return replies

    async def execute_durably(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The scripts' replies, once their writes are durable; retries for event_log_timeout_s, as during a failover.

        A script must be safe to repeat; a server that may lose data is not asked again. Once Redis has failed for that
        long, a write gets one attempt, so that waiting writes do not hold places of requests in flight.
        """
        left_s = self._timeout_s
        while True:
            now = time.monotonic()
            try:
                replies = await self.execute(*commands, *self._sync_commands(), timeout_s=left_s)
            except StoreUnavailable as error:
                self._failing_since = self._failing_since or now
                await self.disconnect_idle()
                left_s = self._failing_since + self._timeout_s - time.monotonic() - RETRY_S
                if UNSAFE in error.detail or left_s < RETRY_S:
                    raise
                await asyncio.sleep(RETRY_S)
                continue
            self._failing_since = None
            if self._sync_commands():
                await self._require_synced(replies.pop())
            return replies

    def _sync_commands(self) -> list[tuple[Any, ...]]:
        """The command that waits until earlier writes are durable; none where the settings do without."""
        local, replicas = int(self._settings.event_log_safe), self._settings.event_log_replicas
        wait_ms = round(self._timeout_s * 900)  # below the timeout, so that its reply arrives
        return [("WAITAOF", local, replicas, wait_ms)] if local or replicas else []

    async def _require_synced(self, synced: Sequence[int]) -> None:
        expected = [int(self._settings.event_log_safe), self._settings.event_log_replicas]
        if any(n < least for n, least in zip(synced, expected, strict=True)):
            await self.disconnect_idle()  # a deposed master without replicas would never acknowledge
            raise self._names.unavailable(
                f"{self._names.entries} were synced by {list(synced)} (local, replicas), expected {expected}"
            )

    def safely(self, script: str) -> str:
        """The script, which Redis refuses where the settings demand safety and it may lose data."""
        return REQUIRE_SAFE + script if self._settings.event_log_safe else script

    async def check(self) -> str | None:
        """Why Redis cannot be used now; InputError where it may lose data, or refuses us, whatever is tried later.

        Every write checks this again (REQUIRE_SAFE), so that no reconnect and no new master is taken on trust.
        """
        try:
            await self.execute(("EVAL", REQUIRE_SAFE, 1, self._key), quiet=True)
        except StoreUnavailable as error:
            unsafe = UNSAFE in error.detail
            if self._settings.event_log_safe and (unsafe or is_refusal(error.__cause__)):
                raise InputError(
                    f"RECO_EVENT_LOG=redis: {error.detail}; expected appendonly yes, {SAFE_POLICY} and a user that "
                    "may read INFO, or RECO_EVENT_LOG_SAFE=false"
                ) from None
            if unsafe:
                log.error("A STORE MAY LOSE WHAT IT IS GIVEN", store=self._names.store, found=error.detail)
                return None
            log.warning("the Redis of a store is unavailable", store=self._names.store, error=error.detail)
            return error.detail
        return None

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        client = self._client
        if not isinstance(client, RedisCluster):
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))
        # WAITAOF has no key and must follow on the connection that wrote, which a cluster's pipeline cannot do.
        await client.initialize()
        node = client.get_node_from_key(self._key)
        assert node is not None
        sent = [PipelineCommand(i, *command) for i, command in enumerate(commands)]
        await node.execute_pipeline(sent)
        return [command.result for command in sent]

    async def disconnect_idle(self) -> None:
        """Close idle connections to a single server, since under Sentinel each new one looks the master up.

        A deposed master keeps refusing commands on old connections until Sentinel demotes it, ten seconds or more.
        """
        if not isinstance(self._client, RedisCluster):
            with suppress(*FAILURES):
                await within(self._client.connection_pool.disconnect(inuse_connections=False), CLOSE_S)

    def _start_rediscovery(self) -> None:
        """Look up in the background which node of a cluster holds the key now."""
        if isinstance(self._client, RedisCluster) and self._rediscovery is None:
            self._rediscovery = start_worker(self._metrics, f"{self._names.task}_discovery", self._rediscover())

    async def _rediscover(self) -> None:
        try:
            await within(refresh(self._client), self._timeout_s)
        except FAILURES as error:
            log.warning("Redis cannot be found", error=reason_of(error))
        finally:
            self._rediscovery = None

    async def close(self) -> None:
        if self._rediscovery is not None:
            await asyncio.wait((self._rediscovery,))
        try:
            await within(self._client.aclose(), CLOSE_S)
        except FAILURES as error:
            log.warning("closing Redis failed", error=reason_of(error))


def open_server(settings: EventSettings, key: str, names: CommitNames, metrics: TaskMetrics) -> RedisServer:
    """The server that the settings name; InputError where they name none."""
    if settings.redis_url is None:
        raise InputError("RECO_EVENT_LOG=redis: expected RECO_REDIS_URL to be set")
    return RedisServer(connect(settings.redis_url.get_secret_value()), key, settings, names, metrics)
