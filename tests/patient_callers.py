"""Callers that send every batch until it is acknowledged, whatever happens to the service meanwhile."""

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx

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
