"""Connects to Redis: one server, a master under Sentinel, or a cluster."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeAlias, TypeVar

from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from index.errors import InputError
from service.redis_url import CLUSTER, SENTINEL, UNIX, RedisUrl, parse_redis_url

T = TypeVar("T")

RedisClient: TypeAlias = Redis | RedisCluster

CONNECTIONS = 8  # per client: one reads, one writes, and some are closing after a timeout
SENTINEL_S = 0.5  # timeout for one sentinel to name the master, before the next one is tried

FINAL_TURNS = 4  # of the event loop, from bytes on the socket to a parsed reply
CANCEL_S = 0.02  # how long a cancelled command may take to end before it is cancelled again
CLOSE_S = 1.0  # so that a hanging server cannot delay the shutdown

# uvloop raises RuntimeError for a write on a transport that the server has just closed; a cluster of which no node
# responds is no RedisError.
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError)


def connect(url: str, *, connections: int = CONNECTIONS) -> RedisClient:
    """A client without retries and handshake, as circuit breaker and timeouts decide; InputError on a bad URL.

    It connects at the first command. In a cluster the keys of one command must share a slot.
    """
    try:
        parsed = parse_redis_url(url)
    except ValueError as error:
        raise InputError(f"RECO_REDIS_URL: {error}") from None
    options = {**_handshake(), "max_connections": connections, **parsed.options}
    if parsed.kind == SENTINEL:
        return _sentinel(parsed, options)
    if parsed.kind == CLUSTER:
        nodes = [ClusterNode(host, port) for host, port in parsed.hosts]
        return RedisCluster(startup_nodes=nodes, ssl=parsed.tls, **options)
    if parsed.kind == UNIX:
        return Redis(connection_pool=ConnectionPool(UnixDomainSocketConnection, path=parsed.path, **options))
    ((host, port),) = parsed.hosts
    kind = SSLConnection if parsed.tls else Connection
    return Redis(connection_pool=ConnectionPool(kind, host=host, port=port, **options))


def _handshake() -> dict[str, Any]:
    """What a connection sends before the first command, on servers and sentinels alike: AUTH and SELECT alone."""
    return {"protocol": 2, "driver_info": None, "retry": Retry(NoBackoff(), 0)}


def _sentinel(url: RedisUrl, options: dict[str, Any]) -> Redis:
    timeouts = {"socket_timeout": SENTINEL_S, "socket_connect_timeout": SENTINEL_S}
    sentinel_options = {**_handshake(), "ssl": url.tls, **timeouts, **url.sentinel_options}
    sentinel: Any = Sentinel(list(url.hosts), sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(url.path, ssl=url.tls, **options)
    return master


def reason_of(error: BaseException) -> str:
    """What failed and why; redis-py's errors leave the reason out of their repr."""
    return f"{type(error).__name__}: {error}"[:200]


async def refresh(client: RedisClient) -> None:
    """After a failure: reload the slots of a cluster. Other clients find the server when they reconnect."""
    if isinstance(client, RedisCluster):
        await client.aclose()
        await client.initialize()


async def read_many(client: RedisClient, keys: list[bytes]) -> list[Any]:
    """The values of many string keys, None for a missing one; one round trip to each server involved."""
    if isinstance(client, RedisCluster):
        return await client.mget_nonatomic(keys)
    return await client.mget(keys)


async def within(work: Awaitable[T], seconds: float) -> T:
    """The result of the work; after the timeout the work is cancelled and TimeoutError raised.

    A busy event loop runs its timers before it reads its sockets, so the reply may be there already when the timeout
    fires: a few more turns of the loop let it arrive.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait((task,), timeout=seconds)
    for _ in range(FINAL_TURNS):
        if not task.done():
            await asyncio.sleep(0)
    if task.done():
        return task.result()
    while not task.done():  # redis-py sometimes swallows a cancellation while it opens a connection
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_S)
    raise TimeoutError(f"no response within {seconds * 1000:g} ms")
