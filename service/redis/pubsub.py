"""News between replicas: one Redis channel, small batches, heard within milliseconds; lost news must do no harm.

Whoever sends changes something durable first, and whoever listens also looks there now and then: a signal only makes
it sooner.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any

import orjson
import structlog

from service.redis.client import FAILURES, RedisClient, refresh, within
from service.telemetry.metrics import Metrics

Handler = Callable[[list[str]], None]

MOST_AT_ONCE = 1_000  # ids a message
MOST_WAITING = 100_000  # ids that wait to be sent; more are left to the others' own looking
SEND_S = 1.0
SILENCE_S = 2.0  # after which the server is asked whether it is there, and after which again it is taken for gone
RETRY_S = 0.5

log = structlog.get_logger()


class PubSub:
    """Sends to all other replicas and calls a handler for what they send: `handlers[kind](ids)`."""

    def __init__(self, redis: RedisClient, namespace: str, replica: str, metrics: Metrics) -> None:
        self.handlers: dict[str, Handler] = {}
        self.channel = f"{namespace}:news"
        self._redis = redis
        self._replica = replica
        self._outcomes = {name: metrics.live_signals.labels(name) for name in ("sent", "received", "bad", "error")}
        self._waiting: dict[tuple[str, str], None] = {}
        self._sender: asyncio.Task[None] | None = None
        self.listening = False

    def message(self, kind: str, ids: Iterable[str]) -> bytes:
        """A message as it is published."""
        return orjson.dumps({"from": self._replica, "kind": kind, "ids": list(ids)})

    def send(self, kind: str, ids: Iterable[str]) -> None:
        """Tell all other replicas, without waiting; what comes while a message is under way goes with the next one."""
        for one in ids:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[kind, one] = None
        if self._sender is None and self._waiting:
            self._sender = asyncio.get_running_loop().create_task(self._send(), context=Context())

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting)[:MOST_AT_ONCE]
                for kind in {kind for kind, _ in batch}:
                    await self._publish(kind, [one for of, one in batch if of == kind])
                for key in batch:
                    del self._waiting[key]
        finally:
            self._sender = None

    async def _publish(self, kind: str, ids: list[str]) -> None:
        try:
            await within(self._redis.publish(self.channel, self.message(kind, ids)), SEND_S)
            self._outcomes["sent"].inc()
        except FAILURES as error:
            self._outcomes["error"].inc()
            log.warning("news not sent", error=repr(error)[:200], n=len(ids))
            with suppress(*FAILURES):
                await within(refresh(self._redis), SEND_S)

    async def listen(self) -> None:
        """Hear the others until cancelled; a lost connection is made anew."""
        while True:
            try:
                await self._listen()
            except FAILURES as error:
                self._outcomes["error"].inc()
                log.warning("news not heard", error=repr(error)[:200])
                await asyncio.sleep(RETRY_S)
                with suppress(*FAILURES):
                    await within(refresh(self._redis), SEND_S)

    async def _listen(self) -> None:
        pubsub: Any = self._redis.pubsub()
        try:
            await within(pubsub.subscribe(self.channel), SEND_S)
            self.listening, asked = True, False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is None and asked:
                    raise TimeoutError(f"no answer within {SILENCE_S:g} s")
                asked = message is None
                if asked:
                    await within(pubsub.ping(), SEND_S)
                elif message["type"] == "message":
                    self._hear(message["data"])
        finally:
            self.listening = False
            with suppress(*FAILURES):
                await within(pubsub.aclose(), SEND_S)

    def _hear(self, data: bytes) -> None:
        try:
            told = orjson.loads(data)
            sender, kind, ids = told["from"], told["kind"], told["ids"]
            handler = self.handlers.get(kind)
        except (ValueError, TypeError, KeyError):
            self._outcomes["bad"].inc()
            return
        if sender == self._replica or handler is None:
            return
        self._outcomes["received"].inc()
        handler([one for one in ids if isinstance(one, str)])

    async def close(self) -> None:
        """Send what waits, for a moment."""
        if self._sender is not None:
            await asyncio.wait((self._sender,), timeout=SEND_S)
