"""Connects to Redis: one server, a master under Sentinel, or a cluster."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from index.errors import InputError
from service.settings_types import redis_kind

T = TypeVar("T")

RedisClient: TypeAlias = Redis | RedisCluster

SINGLE, SENTINEL, CLUSTER = "", "sentinel", "cluster"  # what may follow the + of a scheme
DEFAULT_PORT = {SENTINEL: 26379, CLUSTER: 6379}
CONNECTIONS = 8  # per client: one reads, one writes, and some are closing after a timeout
SENTINEL_S = 0.5  # timeout for one sentinel to name the master, before the next one is tried

FINAL_TURNS = 4  # of the event loop, from bytes on the socket to a parsed reply
CANCEL_S = 0.02  # how long a cancelled command may take to end before it is cancelled again
CLOSE_S = 1.0  # so that a hanging server cannot delay the shutdown

# uvloop raises RuntimeError for a write on a transport that the server has just closed.
FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)


def connect(url: str, *, connections: int = CONNECTIONS) -> RedisClient:
    """A client without retries and handshake, as circuit breaker and timeouts decide; InputError on a bad URL.

    It connects at the first command. In a cluster the keys of one command must share a slot.
    """
    options = {"protocol": 2, "driver_info": None, "retry": Retry(NoBackoff(), 0), "max_connections": connections}
    try:
        kind = redis_kind(url)
        if kind == SENTINEL:
            return _sentinel(urlsplit(url), options)
        if kind == CLUSTER:
            return _cluster(urlsplit(url), options)
        return Redis(connection_pool=ConnectionPool.from_url(url, **options))
    except ValueError as error:
        raise InputError(f"RECO_REDIS_URL: {error}") from None


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


def _sentinel(url: SplitResult, options: dict[str, Any]) -> Redis:
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise ValueError("a sentinel URL ends in the name of the service: redis+sentinel://host:26379,host/NAME[/db]")
    servers = [_parse_host(url, host, SENTINEL) for host in _hosts(url)]
    common = {name: value for name, value in servers[0].items() if name not in ("host", "port", "connection_class")}
    credentials = {name: common.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    options = {**options, **common, "ssl": url.scheme.startswith("rediss"), "db": int(database or 0)}
    timeouts = {"socket_timeout": SENTINEL_S, "socket_connect_timeout": SENTINEL_S}
    sentinel_options = {"ssl": options["ssl"], **timeouts, **credentials}
    sentinel: Any = Sentinel([(server["host"], server["port"]) for server in servers], sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service, **options)
    return master


def _cluster(url: SplitResult, options: dict[str, Any]) -> RedisCluster:
    if url.path.strip("/"):
        raise ValueError("a cluster has one database only: expected no path after the hosts")
    servers = [_parse_host(url, host, CLUSTER) for host in _hosts(url)]
    common = {name: value for name, value in servers[0].items() if name not in ("host", "port", "connection_class")}
    nodes = [ClusterNode(server["host"], server["port"]) for server in servers]
    return RedisCluster(startup_nodes=nodes, ssl=url.scheme.startswith("rediss"), **common, **options)


def _hosts(url: SplitResult) -> list[str]:
    hosts = [host for host in url.netloc.rpartition("@")[2].split(",") if host]
    if not hosts:
        raise ValueError("expected at least one host, as in host:port,host:port")
    return hosts


def _parse_host(url: SplitResult, host: str, kind: str) -> dict[str, Any]:
    """What redis-py parses from the URL with this one host: address, user, password, and options of the query."""
    secret, at, _ = url.netloc.rpartition("@")
    query = f"?{url.query}" if url.query else ""
    parsed: dict[str, Any] = dict(parse_url(f"{url.scheme.partition('+')[0]}://{secret}{at}{host}/{query}"))
    return {"host": "localhost", "port": DEFAULT_PORT[kind], **parsed}


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
