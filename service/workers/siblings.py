"""Questions between the workers of one machine over Unix sockets in their private folder, each with a reply.

A question is a line of JSON, its reply all bytes until the end of the connection: DONE and what the handler returns,
or nothing where it failed.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import orjson
import structlog

from service.background import supervised
from service.telemetry.task_metrics import TaskMetrics
from service.workers.worker import Worker, inbox_path

Handler = Callable[[list[str]], Awaitable[bytes]]

BEAT_S = 0.5
DONE = b"+"
MAX_QUESTION = 16 << 20
LATE_START_S = 5.0  # a worker that is not ready for longer makes the service not ready

log = structlog.get_logger()


class Siblings:
    """The other workers. `handlers` answer their questions by kind; a handler that raises gives no reply."""

    def __init__(self, worker: Worker, metrics: TaskMetrics) -> None:
        self.worker = worker
        self.handlers: dict[str, Handler] = {}
        self._metrics = metrics
        self._was_whole = False  # whether all workers have been ready at the same time

    def missing(self) -> Mapping[int, float]:
        """The workers that keep the service from being ready, and for how many seconds each has not been.

        Until all have been ready once, any that is not; later one that a restart has not brought back soon.
        """
        table = self.worker.memory.table
        missing = table.not_ready_s(time.monotonic())
        self._was_whole = self._was_whole or not missing or any(table.restarts())  # none restarts before
        return {number: s for number, s in missing.items() if not self._was_whole or s > LATE_START_S}

    async def ask(self, kind: str, ids: Sequence[str] = (), *, within_s: float) -> dict[int, bytes | None]:
        """The replies of all other workers by number, None where one did not reply in time.

        The question waits for a worker that is being restarted, and is answered before that one serves.
        """
        question = orjson.dumps({"kind": kind, "ids": list(ids)}) + b"\n"
        others = self.worker.others
        replies = await asyncio.gather(*(self._ask(number, question, within_s) for number in others))
        for number, reply in zip(others, replies, strict=True):
            if reply is None:
                log.warning("worker did not reply", worker=number, question=kind, within_s=within_s)
        return dict(zip(others, replies, strict=True))

    async def _ask(self, number: int, question: bytes, within_s: float) -> bytes | None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(within_s):
                reader, writer = await asyncio.open_unix_connection(inbox_path(self.worker.folder, number))
                try:
                    writer.write(question)
                    await writer.drain()
                    reply = await reader.read(-1)
                finally:
                    writer.close()
                return reply[len(DONE) :] if reply.startswith(DONE) else None
        return None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Answer questions, beat, and stop with the supervisor, until the context ends."""
        loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(self._answer, sock=self.worker.inbox, limit=MAX_QUESTION)
        loop.add_reader(self.worker.lifeline, self._stop_without_supervisor)
        try:
            async with supervised(self._metrics, {"worker_heartbeat": self._beat}):
                yield
        finally:
            loop.remove_reader(self.worker.lifeline)
            server.close()

    def _stop_without_supervisor(self) -> None:
        asyncio.get_running_loop().remove_reader(self.worker.lifeline)
        log.error("the supervisor has ended; this worker stops", worker=self.worker.number)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _beat(self) -> None:
        while True:
            self.worker.memory.table.beat(self.worker.number)
            await asyncio.sleep(BEAT_S)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = orjson.loads(await reader.readline())
            reply = await self.handlers[question["kind"]](question["ids"])
            writer.write(DONE + reply)
            await writer.drain()
        except OSError:  # the asker no longer waits
            pass
        except Exception as error:  # the edge between two processes: the asker sees that there is no reply
            log.error("question of another worker failed", exc_info=error)
        finally:
            writer.close()
