import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_events import NOON
from servers import Valkey

from service.events.log import EventLog
from service.events.open_log import open_log
from service.settings import Settings
from service.telemetry.metrics import Metrics

Steps = Callable[[EventLog], Awaitable[None]]
Use = Callable[..., None]


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    config = {"appendonly": "yes", "appendfsync": "always"}
    server = Valkey(tmp_path_factory.mktemp("valkey"), config=config).start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Use:
    """Open a log of one kind, take the steps, close it; the next use finds what the last one left."""

    where: dict[str, Any] = {}
    if request.param == "redis":
        server: Valkey = request.getfixturevalue("durable")
        with server.client() as client:
            client.flushall()
        where = {"event_log": "redis", "redis_url": server.url, "redis_budget_ms": 2_000}

    def run(steps: Steps, *, clock: Callable[[], float] = lambda: NOON, **changes: Any) -> None:
        async def opened() -> None:
            async with open_log(Settings(registry=tmp_path, **where, **changes), Metrics(), clock) as log:
                await steps(log)

        asyncio.run(opened())

    return run
