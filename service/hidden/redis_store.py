"""A set of ids in Redis that replicas share, such as that of hidden items, and a mark that identifies its version.

Every change writes a new random mark, which ends in the size of the set. So a poll reads only the mark, and a Redis
that lost one of the two keys (flushed, evicted, another type under the key) is distinguished from an empty set.
"""

import secrets
from collections.abc import Iterable
from typing import Any

from service.redis.client import RedisClient, within
from service.redis.pubsub import PubSub

TIMEOUT_S = 1.0
HIDDEN_CHANGED = "hidden"  # the kind of message that makes replicas poll

# Both keys share a slot of a cluster. `whole` checks that the mark belongs to the set.
WHOLE = """
local function whole()
  local kind = redis.call('TYPE', KEYS[1]).ok
  if redis.call('TYPE', KEYS[2]).ok ~= 'string' or (kind ~= 'set' and kind ~= 'none') then return false end
  return string.match(redis.call('GET', KEYS[2]), '%d+$') == tostring(redis.call('SCARD', KEYS[1]))
end
local function mark(token, message)
  redis.call('SET', KEYS[2], token .. ':' .. redis.call('SCARD', KEYS[1]))
  redis.call('PUBLISH', ARGV[1], message)
end
"""
CHANGE = f"""{WHOLE}
if not whole() then return 0 end
redis.call(ARGV[4], KEYS[1], ARGV[5])
mark(ARGV[2], ARGV[3])
return 1
"""
SEED = f"""{WHOLE}
if whole() then return end
if redis.call('TYPE', KEYS[1]).ok ~= 'set' then redis.call('DEL', KEYS[1]) end
for i = 4, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
mark(ARGV[2], ARGV[3])
"""
READ = f"""{WHOLE}
if not whole() then return {{''}} end
local found = redis.call('GET', KEYS[2])
if found == ARGV[1] then return {{found}} end
return {{found, redis.call('SMEMBERS', KEYS[1])}}
"""


class RedisHiddenItems:
    """The set that all replicas share. A method may raise FAILURES; Redis may still have applied the change."""

    def __init__(self, redis: RedisClient, namespace: str, pubsub: PubSub, name: str = HIDDEN_CHANGED) -> None:
        self._redis = redis
        self._name = name  # of the keys, and the kind of the message of a change
        self._keys = (f"{{{namespace}:{name}}}", f"{{{namespace}:{name}}}:mark")
        self._pubsub = pubsub
        self._mark = b""  # of the set that was read last

    async def set(self, item_id: str, *, hidden: bool, known: Iterable[str]) -> None:
        """Hide or show an item for all replicas. Where Redis lost the set, the ids in `known` are restored first."""
        command = "SADD" if hidden else "SREM"
        if not await self._run(CHANGE, *self._mark_and_message(item_id), command, item_id):
            await self._run(SEED, *self._mark_and_message(), *known)
            await self._run(CHANGE, *self._mark_and_message(item_id), command, item_id)

    async def read_if_changed(self, *, known: Iterable[str]) -> frozenset[str] | None:
        """The hidden ids; None where they are those of the last read. Where Redis lost the set, `known` is restored."""
        mark, *members = await self._run(READ, self._mark)
        if not mark:
            await self._run(SEED, *self._mark_and_message(), *known)
        if not members:
            return None
        self._mark = mark
        return frozenset(member.decode(errors="replace") for member in members[0])

    def _mark_and_message(self, *ids: str) -> tuple[str, str, bytes]:
        return self._pubsub.channel, secrets.token_hex(8), self._pubsub.encode(self._name, ids)

    async def _run(self, script: str, *arguments: str | bytes) -> Any:
        return await within(self._redis.eval(script, len(self._keys), *self._keys, *arguments), TIMEOUT_S)
