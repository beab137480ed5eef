"""Commands to the one server that holds the log, several on one connection, each failure the same error."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any

import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand

from service.events.log import LogUnavailable
from service.redis.client import FAILURES, RedisClient, refresh, within

WRONG_TYPE = "WRONGTYPE"  # how such a reply begins
CLOSE_S = 1.0  # a hanging server may not hold up our own stop

log = structlog.get_logger()


class StreamClient:
    """Asks whoever holds `key`, be it one server, a watched master, or a node of a cluster."""

    def __init__(self, client: RedisClient, key: str, timeout_s: float) -> None:
        self._client = client
        self._key = key
        self._timeout_s = timeout_s
        self._finding: asyncio.Task[None] | None = None

    async def ask(self, *commands: tuple[Any, ...], seconds: float | None = None, apart: bool = False) -> list[Any]:
        """The replies to commands sent together on one connection; LogUnavailable where one of them failed.

        With `apart` the commands are of different callers, and a wrong type under one's key is the reply to that one.
        """
        try:
            replies = await within(self._send(commands), seconds or self._timeout_s)
            for reply in replies:
                if isinstance(reply, Exception) and not (apart and str(reply).startswith(WRONG_TYPE)):
                    raise reply
        except FAILURES as error:
            self._find_anew()
            log.warning("event log failed", error=repr(error)[:200])
            raise LogUnavailable(f"the event log's Redis failed: {_told(error)}") from error
        return replies

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        client = self._client
        if not isinstance(client, RedisCluster):
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))
        # WAITAOF names no key and must follow on the connection that wrote: a cluster's own pipeline cannot do that.
        await client.initialize()
        node = client.get_node_from_key(self._key)
        assert node is not None
        sent = [PipelineCommand(i, *command) for i, command in enumerate(commands)]
        await node.execute_pipeline(sent)
        return [command.result for command in sent]

    async def leave(self) -> None:
        """Close idle connections to one server: under Sentinel each new one asks who the master is.

        A deposed master answers on the old ones, and refuses, until it is told that it is none: ten seconds or more.
        """
        if not isinstance(self._client, RedisCluster):
            with suppress(*FAILURES):
                await within(self._client.connection_pool.disconnect(inuse_connections=False), CLOSE_S)

    def _find_anew(self) -> None:
        """Let a cluster's client learn who holds our keys now; whoever failed does not wait for it."""
        if isinstance(self._client, RedisCluster) and self._finding is None:
            self._finding = asyncio.get_running_loop().create_task(self._find(), context=Context())

    async def _find(self) -> None:
        try:
            await within(refresh(self._client), self._timeout_s)
        except FAILURES as error:
            log.warning("Redis cannot be found", error=repr(error)[:200])
        finally:
            self._finding = None

    async def close(self) -> None:
        """Close the connections."""
        if self._finding is not None:
            await asyncio.wait((self._finding,))
        try:
            await within(self._client.aclose(), CLOSE_S)
        except FAILURES as error:
            log.warning("closing Redis failed", error=repr(error)[:200])


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
