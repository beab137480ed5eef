"""One way to reach Redis, whether it is one server, one that Sentinel watches, or a cluster."""

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
CONNECTIONS = 8  # of one client: one reads, one writes, and those being closed after a timeout
SENTINEL_S = 0.5  # for one sentinel to say where the master is, before the next one is asked

LAST_LOOKS = 4  # turns of the loop from bytes on the socket to a parsed reply
CANCEL_S = 0.02  # how long a cancelled call may take to end before it is cancelled again
CLOSE_S = 1.0  # a hanging server may not hold up our own stop

# RuntimeError: what uvloop raises for a write on a transport that the server has just closed.
FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)


def connect(url: str, *, connections: int = CONNECTIONS) -> RedisClient:
    """A client that neither retries nor greets (the circuit and the budget decide); InputError on a bad URL.

    Nothing is sent before the first command. Commands of several keys need keys of one slot where it is a cluster.
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
    """After a failure: let a cluster's client learn anew which node holds what. Others ask when they connect."""
    if isinstance(client, RedisCluster):
        await client.aclose()
        await client.initialize()


async def read_many(client: RedisClient, keys: list[bytes]) -> list[Any]:
    """The values of many string keys, None where there is none; one round trip to each server that holds some."""
    if isinstance(client, RedisCluster):
        return await client.mget_nonatomic(keys)
    return await client.mget(keys)


def _sentinel(url: SplitResult, options: dict[str, Any]) -> Redis:
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise ValueError("a sentinel URL ends in the name of the service: redis+sentinel://host:26379,host/NAME[/db]")
    found = [_parsed(url, host, SENTINEL) for host in _hosts(url)]
    common = {name: value for name, value in found[0].items() if name not in ("host", "port", "connection_class")}
    own = {name: common.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    options = {**options, **common, "ssl": url.scheme.startswith("rediss"), "db": int(database or 0)}
    asked = {"ssl": options["ssl"], "socket_timeout": SENTINEL_S, "socket_connect_timeout": SENTINEL_S, **own}
    sentinel: Any = Sentinel([(one["host"], one["port"]) for one in found], sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service, **options)
    return master


def _cluster(url: SplitResult, options: dict[str, Any]) -> RedisCluster:
    if url.path.strip("/"):
        raise ValueError("a cluster has one database only: expected no path after the hosts")
    found = [_parsed(url, host, CLUSTER) for host in _hosts(url)]
    common = {name: value for name, value in found[0].items() if name not in ("host", "port", "connection_class")}
    nodes = [ClusterNode(one["host"], one["port"]) for one in found]
    return RedisCluster(startup_nodes=nodes, ssl=url.scheme.startswith("rediss"), **common, **options)


def _hosts(url: SplitResult) -> list[str]:
    hosts = [host for host in url.netloc.rpartition("@")[2].split(",") if host]
    if not hosts:
        raise ValueError("expected at least one host, as in host:port,host:port")
    return hosts


def _parsed(url: SplitResult, host: str, kind: str) -> dict[str, Any]:
    """What redis-py reads from a URL with this one host: address, user, password, and options of the query."""
    secret, at, _ = url.netloc.rpartition("@")
    query = f"?{url.query}" if url.query else ""
    parsed: dict[str, Any] = dict(parse_url(f"{url.scheme.partition('+')[0]}://{secret}{at}{host}/{query}"))
    return {"host": "localhost", "port": DEFAULT_PORT[kind], **parsed}


async def within(work: Awaitable[T], seconds: float) -> T:
    """The result of the work, or TimeoutError and the work cancelled.

    A busy event loop runs its timers before it reads what has come meanwhile, so what looks late is looked at once
    more before it is given up.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait((task,), timeout=seconds)
    for _ in range(LAST_LOOKS):
        if not task.done():
            await asyncio.sleep(0)
    if task.done():
        return task.result()
    while not task.done():  # redis-py has been seen to swallow a cancellation while it opens a connection
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_S)
    raise TimeoutError(f"no answer within {seconds * 1000:g} ms")
