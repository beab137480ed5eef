"""Callers that send every batch until it is acknowledged, whatever happens to the service meanwhile."""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import httpx
from processes import Running

CALLERS = 8

Batch = list[dict[str, Any]]


class PatientCallers:
    """Several callers that share the batches; one that was not answered is sent again as it was."""

    def __init__(self, port: int, path: str, batches: Iterable[Batch]) -> None:
        self._url, self._path = f"http://127.0.0.1:{port}", path
        self._left = list(batches)
        self.acknowledged: Batch = []
        self.answers: list[dict[str, Any]] = []
        self.failed = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(CALLERS)))

    async def _caller(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            while self._left:
                await self._deliver(client, self._left.pop())

    async def _deliver(self, client: httpx.AsyncClient, batch: Batch) -> None:
        while True:
            try:
                response = await client.post(self._path, json=batch)
            except httpx.TransportError:
                self.failed += 1
                await asyncio.sleep(0.02)
                continue
            assert response.status_code == 202, response.text
            self.answers.append(response.json())
            self.acknowledged += batch
            return


async def deliver_through_kills(
    callers: PatientCallers,
    total: int,
    start: Callable[[], AbstractContextManager[tuple[Running, Any]]],
    check: Callable[[Batch], None],
) -> None:
    """Let the callers deliver all they have to a service that is killed twice; `check` gets what was acknowledged."""
    rng, sending = random.Random(0), asyncio.ensure_future(callers.run())
    for share in (0.3, 0.7):
        with start() as (running, _):
            while len(callers.acknowledged) < share * total:
                assert not sending.done()
                await asyncio.sleep(0.001)
            await asyncio.sleep(rng.random() * 0.005)
            running.kill()
            at_the_kill = callers.acknowledged[:]
        check(at_the_kill)
    with start():
        await sending
    assert callers.failed > 0
    assert len(callers.acknowledged) == total
