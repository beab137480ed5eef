"""The item store of several replicas, in Redis; a change is acknowledged once Redis has synced it to disk."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from index.attribute_types import AttributeType
from service.errors import ServiceError
from service.items.item import Item, ItemChange
from service.items.redis_scripts import CHANGES, ENTRIES, WRITE
from service.items.store import NAMES, ItemsChangedError, ItemsUnavailable, ItemWrite, items_of, other_type
from service.items.stored_form import ItemDecoder, encode
from service.items.writes import ItemWrites
from service.redis.circuit_breaker import CircuitBreaker
from service.settings import ItemSettings
from service.storage.redis_server import RedisServer, open_server
from service.telemetry.metrics import ItemMetrics

SCRIPT_ITEMS = 500  # read by one script, which blocks Redis for some milliseconds
READ_S = 1.0  # for a request's read
READ_BYTES = 16 * 2**20  # of the items that one script returns, roughly
REFUSED, OTHER_TYPE = 1, 2  # replies of WRITE


class RedisItems:
    """Sends waiting writes together, followed by one WAITAOF that waits for the disk.

    Reads of requests go through a circuit breaker: while Redis fails they fail at once.
    """

    def __init__(self, redis: RedisServer, settings: ItemSettings, metrics: ItemMetrics, *, most_waiting: int) -> None:
        self._redis = redis
        self._prefix = _prefix(settings)
        self._order = order_key(settings)
        self._script = redis.safely(WRITE)
        self._decode = ItemDecoder(metrics)
        self._circuit = CircuitBreaker(
            failures=settings.redis_failures,
            retry_s=settings.redis_retry_s,
            clock=time.monotonic,
            rng=random.Random(),
            on_change=lambda _: None,
        )
        self._writes = ItemWrites(self._write, metrics, most_waiting=most_waiting)
        self.write = self._writes.write

    @property
    def problem(self) -> str | None:
        return self._writes.problem

    async def check(self) -> None:
        """InputError where Redis may lose items, or refuses us; only a problem where it is unavailable."""
        self._writes.problem = await self._redis.check()

    async def get(self, item_ids: Sequence[str]) -> list[Item | None]:
        return items_of(await self.entries(item_ids))

    async def entries(self, item_ids: Sequence[str]) -> list[ItemChange | None]:
        found = await self._ask("EVAL", ENTRIES, 1, self._order, self._prefix, *item_ids) if item_ids else []
        return [
            self._decode.entry(item_id, int(float(position)), body) if position else None
            for item_id, (position, body) in zip(item_ids, found, strict=True)
        ]

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        found: list[ItemChange] = []
        while len(found) < limit:  # what cannot be read leaves room
            count = min(SCRIPT_ITEMS, limit - len(found))
            command = ("EVAL", CHANGES, 1, self._order, self._prefix, after, count, READ_BYTES)
            (rows,) = await self._redis.execute(command)
            if not rows:
                break
            after = int(float(rows[-1][1]))
            found += await asyncio.to_thread(self._decode_all, rows)  # would block the event loop
        return found

    def _decode_all(self, rows: Sequence[tuple[bytes, bytes, bytes | None]]) -> list[ItemChange]:
        changes = (self._decode(item_id, int(float(position)), body) for item_id, position, body in rows)
        return [change for change in changes if change is not None]

    async def last_position(self) -> int:
        (newest,) = await self._redis.execute(("ZREVRANGE", self._order, 0, 0, "WITHSCORES"))
        return int(float(newest[1])) if newest else 0

    async def count(self) -> int:
        (n,) = await self._redis.execute(("HLEN", self._prefix + "bodies"))
        return int(n)

    async def types(self) -> dict[str, AttributeType]:
        found = await self._ask("HGETALL", self._prefix + "types")
        return {name.decode(): kind.decode() for name, kind in found.items()}

    async def close(self) -> None:
        await self._writes.close()
        await self._redis.close()

    async def _ask(self, *command: Any) -> Any:
        """The reply to a request's read; ItemsUnavailable at once while the circuit is open."""
        if not self._circuit.allows():
            raise ItemsUnavailable("the item store's Redis has failed and its circuit is open")
        try:
            (reply,) = await self._redis.execute(command, timeout_s=READ_S)
        except BaseException:  # one that its caller gave up was slow
            self._circuit.failed()
            raise
        self._circuit.succeeded()
        return reply

    async def _write(self, writes: list[ItemWrite]) -> list[int | ServiceError]:
        commands = [("EVAL", self._script, 1, self._order, *self._arguments(write)) for write in writes]
        replies = await self._redis.execute_durably(*commands)
        return [_outcome(write, reply) for write, reply in zip(writes, replies, strict=True)]

    def _arguments(self, write: ItemWrite) -> tuple[Any, ...]:
        """The arguments of one write to the WRITE script."""
        types = [word for name, kind in write.types.items() for word in (name, kind)]
        changes = [
            word
            for item_id, item in write.changes.items()
            for word in (item_id, write.expected.get(item_id, ""), encode(item) or "")
        ]
        retyped_at = "" if write.retyped_at is None else write.retyped_at
        return (self._prefix, len(write.types), *types, retyped_at, *changes)


def _outcome(write: ItemWrite, reply: Sequence[Any]) -> int | ServiceError:
    code, first, *more = reply
    if code == OTHER_TYPE:
        name = first.decode()
        return other_type(name, found=write.types[name], expected=more[0].decode())
    if code == REFUSED:
        which = f"item {first.decode(errors='replace')!r:.80} was" if first else "items were"
        return ItemsChangedError(f"{which} changed by another request at the same time")
    return int(first)


def _prefix(settings: ItemSettings) -> str:
    """The prefix of the store's keys; the part in braces is the hash tag that decides their node in a cluster."""
    return f"{{{settings.namespace}:items}}:"


def order_key(settings: ItemSettings) -> str:
    """The key of the items' order."""
    return _prefix(settings) + "order"


def open_redis_items(settings: ItemSettings, metrics: ItemMetrics, *, most_waiting: int) -> RedisItems:
    """The store on the Redis that the settings name; InputError where they name none."""
    server = open_server(settings, order_key(settings), NAMES, metrics)
    return RedisItems(server, settings, metrics, most_waiting=most_waiting)
