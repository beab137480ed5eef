"""Sends commands to the Redis server that holds the event log; any failure becomes LogUnavailable."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand

from service.background import start_worker
from service.events.log import LogUnavailable
from service.redis.client import FAILURES, RedisClient, reason_of, refresh, within
from service.telemetry.metrics import EventMetrics

WRONG_TYPE = "WRONGTYPE"  # the start of Redis's error for a key of another type
CLOSE_S = 1.0  # so that a hanging server cannot delay the service's stop

log = structlog.get_logger()


class StreamClient:
    """Executes commands on the server that holds `key`: a single one, Sentinel's master, or a node of a cluster."""

    def __init__(self, client: RedisClient, key: str, timeout_s: float, metrics: EventMetrics) -> None:
        self._client = client
        self._key = key
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._rediscovery: asyncio.Task[None] | None = None

    async def execute(
        self, *commands: tuple[Any, ...], timeout_s: float | None = None, independent: bool = False, quiet: bool = False
    ) -> list[Any]:
        """Send the commands together on one connection and return their replies; LogUnavailable where one fails.

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
                log.warning("event log failed", error=reason_of(error))
            raise LogUnavailable(f"the event log's Redis failed: {reason_of(error)}") from error
        return replies

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
            self._rediscovery = start_worker(self._metrics, "event_log_discovery", self._rediscover())

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
