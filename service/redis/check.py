"""Checks at the start that Redis accepts what the service sends: user, password, database and every command."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import RedisCluster
from redis.asyncio.connection import RedisSSLContext
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisClusterException

from index.errors import InputError
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, reason_of, within
from service.redis_url import RedisUrl, parse_redis_url
from service.settings import RetrainSettings

TIMEOUT_S = 2.0
WRONG_URL = re.compile(  # in Redis's own words
    "DB index is out of range|not allowed in cluster mode|Cluster mode is not enabled|unknown command|^MOVED"
)

# The commands of each key or channel, those inside scripts included; {} is the namespace. Before Redis 7 a script
# cannot ask, and only EVAL itself is checked.
CACHE: Mapping[str, str] = {
    "{}:b:user:u": "MGET SET DEL",
    "{}:news": "PUBLISH SUBSCRIBE",
    "{{{}:hidden}}": "TYPE GET SCARD SET SADD SREM DEL SMEMBERS",
    "{{{}:forgotten}}": "TYPE GET SCARD SET SADD SREM DEL SMEMBERS",
    "{}:rate:a": "HMGET HSET PEXPIRE DEL",
    "": "PING TIME",
}
EVENTS: Mapping[str, str] = {
    "{{{}:events}}:stream": "XADD XRANGE XREVRANGE XTRIM EXISTS SET RPUSH LTRIM LRANGE EXPIRE DEL HINCRBY HGET HSET "
    "HMGET HGETALL HDEL TYPE XLEN XDEL LREM ZADD ZRANGEBYSCORE ZREMRANGEBYSCORE",
}
ITEMS: Mapping[str, str] = {
    "{{{}:items}}:order": "ZADD ZREVRANGE ZRANGEBYSCORE ZSCORE HSET HGET HDEL HLEN HGETALL HINCRBY",
}
JOBS: Mapping[str, str] = {
    "{{{}:retrain}}:jobs": "EXISTS INCR GET SET PEXPIRE PTTL DEL HGET HSET HSETNX HDEL HEXISTS HMGET ZADD ZRANGE "
    "ZREVRANGE ZREM",
}

# Returns which of the pairs of a command and its key or channel the user may not send.
DENIED = """
local denied = {}
for i = 1, redis.acl_check_cmd and #ARGV or 0, 2 do
    local command = ARGV[i + 1] ~= '' and {ARGV[i], ARGV[i + 1]} or {ARGV[i]}
    local known, allowed = pcall(redis.acl_check_cmd, unpack(command))
    if not (known and allowed) then denied[#denied + 1] = (i - 1) / 2 end
end
return denied
"""

log = structlog.get_logger()


def check_redis(settings: RetrainSettings) -> None:
    """InputError where Redis responds, and is of another kind than the URL says or refuses what the event log needs.

    One that refuses only a cache is told of in the log, and one that is unavailable may come later.
    """
    if settings.redis_url is None:
        return
    url = settings.redis_url.get_secret_value()
    _check_tls(parse_redis_url(url))
    refusal = asyncio.run(_refusal(url, needed_commands(settings)))
    if refusal is None:
        return
    if settings.event_log == "redis" or WRONG_URL.search(refusal):
        raise InputError(f"RECO_REDIS_URL: {refusal}")
    log.error("REDIS REFUSES THE SERVICE", why=refusal)


def needed_commands(settings: RetrainSettings) -> list[tuple[str, str]]:
    """Every command that the service sends with these settings, and a key or channel that it names."""
    tables = [CACHE]
    if settings.event_log == "redis":
        synced = settings.event_log_safe or settings.event_log_replicas
        tables += [EVENTS, ITEMS, {"": "WAITAOF"} if synced else {}, JOBS if settings.retrain_data else {}]
    return [
        (command, key.format(settings.namespace))
        for table in tables
        for key, commands in table.items()
        for command in commands.split()
    ]


def is_refusal(error: BaseException | None) -> bool:
    """Whether the error is an answer that stays the same until somebody changes a configuration."""
    if isinstance(error, RedisClusterException) and error.__cause__ is not None:
        return is_refusal(error.__cause__) or bool(WRONG_URL.search(str(error)))
    refused = isinstance(error, (AuthenticationError, NoPermissionError, MovedError))
    return refused or bool(WRONG_URL.search(str(error)))


def _check_tls(url: RedisUrl) -> None:
    """InputError where a certificate, a key or a cipher cannot be used: every connection would fail."""
    options = {name.removeprefix("ssl_"): value for name, value in url.options.items() if name.startswith("ssl_")}
    try:
        RedisSSLContext(**{"cert_reqs": "required", "check_hostname": True, **options}).get()
    except (OSError, ValueError) as error:
        raise InputError(f"RECO_REDIS_URL: its ssl_ options cannot be used: {error}") from None


async def _refusal(url: str, commands: Sequence[tuple[str, str]]) -> str | None:
    client = connect(url, connections=1)
    try:
        denied = await within(_denied(client, commands), TIMEOUT_S)
    except FAILURES as error:
        if is_refusal(error):
            why = str(error).partition(", with args")[0]
            return f"Redis refuses this user, database or kind of URL: {why}"
        log.warning("Redis is unavailable at the start", error=reason_of(error))
        return None
    finally:
        with suppress(*FAILURES):
            await within(client.aclose(), CLOSE_S)
    return f"the ACL of Redis must allow its user {_sentence(denied)}" if denied else None


async def _denied(client: RedisClient, commands: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    arguments: list[Any] = [word for command in commands for word in command]
    where: dict[str, Any] = {}
    if isinstance(client, RedisCluster):  # no key decides the node: users are the same on all
        await client.initialize()
        where = {"target_nodes": client.get_random_node()}
    numbers = await client.execute_command("EVAL", DENIED, 0, *arguments, **where)
    return [commands[number] for number in numbers]


def _sentence(denied: Sequence[tuple[str, str]]) -> str:
    by_key: dict[str, list[str]] = {}
    for command, key in denied:
        by_key.setdefault(key, []).append(command)
    return "; ".join(f"{', '.join(commands)}{f' on {key}' if key else ''}" for key, commands in by_key.items())
