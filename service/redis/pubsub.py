"""Messages between replicas over one Redis pub/sub channel, in small batches. A lost message does no harm.

A sender first writes the change to a durable store, and receivers also poll that store: a message only makes the
change visible sooner.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, Field, ValidationError

from service.background import start_worker
from service.redis.client import FAILURES, RedisClient, refresh, within
from service.telemetry.metrics import UserMetrics

Handler = Callable[[list[str]], None]

MAX_BATCH = 1_000  # ids in one message
MAX_PENDING = 100_000  # ids to be sent; others are dropped, and receivers find them when they poll
SEND_S = 1.0
SILENCE_S = 2.0  # without any message: then a ping, and after as long again without a reply a reconnect
RETRY_S = 0.5

log = structlog.get_logger()


class _Message(BaseModel):
    """What a replica sends; fields of a later version are ignored."""

    sender: str = Field(alias="from")
    kind: str
    ids: list[str]


class PubSub:
    """Sends messages to all other replicas and calls `handlers[kind](ids)` for each that they send."""

    def __init__(self, redis: RedisClient, namespace: str, replica: str, metrics: UserMetrics) -> None:
        self.handlers: dict[str, Handler] = {}
        self.channel = f"{namespace}:news"
        self._redis = redis
        self._replica = replica
        self._metrics = metrics
        self._outcomes = {name: metrics.live_signals.labels(name) for name in ("sent", "received", "bad", "error")}
        self._pending: dict[tuple[str, str], None] = {}
        self._sender: asyncio.Task[None] | None = None
        self.listening = False

    def encode(self, kind: str, ids: Iterable[str]) -> bytes:
        """The bytes of a message on the channel."""
        return orjson.dumps({"from": self._replica, "kind": kind, "ids": list(ids)})

    def send(self, kind: str, ids: Iterable[str]) -> None:
        """Send ids to all other replicas, without waiting; those that come during a send go in the next batch."""
        for id_ in ids:
            if len(self._pending) < MAX_PENDING:
                self._pending[kind, id_] = None
        if self._sender is None and self._pending:
            self._sender = start_worker(self._metrics, "message_sender", self._send_pending())

    async def _send_pending(self) -> None:
        try:
            while self._pending:
                batch = list(self._pending)[:MAX_BATCH]
                try:
                    for kind in {kind for kind, _ in batch}:
                        await self._publish(kind, [id_ for its_kind, id_ in batch if its_kind == kind])
                finally:  # whatever fails: a batch that cannot be sent must not hold up the others
                    for key in batch:
                        del self._pending[key]
        finally:
            self._sender = None

    async def _publish(self, kind: str, ids: list[str]) -> None:
        try:
            await within(self._redis.publish(self.channel, self.encode(kind, ids)), SEND_S)
            self._outcomes["sent"].inc()
        except FAILURES as error:
            self._outcomes["error"].inc()
            log.warning("message to replicas not sent", error=repr(error)[:200], n=len(ids))
            with suppress(*FAILURES):
                await within(refresh(self._redis), SEND_S)

    async def listen(self) -> None:
        """Receive messages until cancelled; reconnect where the connection is lost."""
        while True:
            try:
                await self._subscribe()
            except FAILURES as error:
                self._outcomes["error"].inc()
                log.warning("messages of replicas not received", error=repr(error)[:200])
                await asyncio.sleep(RETRY_S)
                with suppress(*FAILURES):
                    await within(refresh(self._redis), SEND_S)

    async def _subscribe(self) -> None:
        pubsub: Any = self._redis.pubsub()
        try:
            await within(pubsub.subscribe(self.channel), SEND_S)
            self.listening, pinged = True, False
            while True:
                message = await pubsub.get_message(timeout=SILENCE_S)
                if message is None and pinged:
                    raise TimeoutError(f"no response within {SILENCE_S:g} s")
                pinged = message is None
                if pinged:
                    await within(pubsub.ping(), SEND_S)
                elif message["type"] == "message":
                    self._dispatch(message["data"])
        finally:
            self.listening = False
            with suppress(*FAILURES):
                await within(pubsub.aclose(), SEND_S)

    def _dispatch(self, data: bytes) -> None:
        try:
            message = _Message.model_validate_json(data)
        except ValidationError as error:
            self._outcomes["bad"].inc()
            self._metrics.unreadable.skip("messages", error)
            return
        handler = self.handlers.get(message.kind)
        if message.sender == self._replica or handler is None:
            return
        self._outcomes["received"].inc()
        handler(message.ids)

    async def close(self) -> None:
        """Wait until pending messages are sent, up to a timeout; the handlers go."""
        if self._sender is not None:
            await asyncio.wait((self._sender,), timeout=SEND_S)
        self.handlers.clear()
