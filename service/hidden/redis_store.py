"""Hidden item ids in Redis, where several replicas share them: a set, and a mark that changes with it.

The mark is new with every change and ends in the size of the set: a look is cheap, and a Redis that lost either of
the two (flushed, evicted, another type under the key) is told from one where nothing is hidden.
"""

import secrets
from collections.abc import Iterable
from typing import Any

from service.redis.client import RedisClient, within
from service.redis.pubsub import PubSub

ANSWER_S = 1.0
KIND = "hidden"  # of the signal

# Both keys lie in one slot of a cluster. `whole` tells whether set and mark belong together.
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
    """Every call may raise what Redis raises: then nothing is known, and nothing was promised."""

    def __init__(self, redis: RedisClient, namespace: str, pubsub: PubSub) -> None:
        self._redis = redis
        self._keys = (f"{{{namespace}:hidden}}", f"{{{namespace}:hidden}}:mark")
        self._signals = pubsub
        self._mark = b""  # as it was when the whole set was read last

    async def set(self, item_id: str, *, hidden: bool, known: Iterable[str]) -> None:
        """Hide or show an item for all replicas; `known` is what was hidden, should Redis have lost it."""
        command = "SADD" if hidden else "SREM"
        if not await self._run(CHANGE, *self._news(item_id), command, item_id):
            await self._run(SEED, *self._news(), *known)
            await self._run(CHANGE, *self._news(item_id), command, item_id)

    async def changed(self, known: Iterable[str]) -> frozenset[str] | None:
        """What is hidden, if that may be other than at the last time; a Redis that lost it is told what is known."""
        mark, *members = await self._run(READ, self._mark)
        if not mark:
            await self._run(SEED, *self._news(), *known)
        if not members:
            return None
        self._mark = mark
        return frozenset(one.decode(errors="replace") for one in members[0])

    def _news(self, *ids: str) -> tuple[str, str, bytes]:
        return self._signals.channel, secrets.token_hex(8), self._signals.message(KIND, ids)

    async def _run(self, script: str, *arguments: str | bytes) -> Any:
        return await within(self._redis.eval(script, len(self._keys), *self._keys, *arguments), ANSWER_S)
