import asyncio
from types import SimpleNamespace
from typing import Any

from service.http.routes.health import metrics
from service.ranking.turns import ITERATIONS, Lane


def test_the_loop_goes_on_between_the_metrics_of_many_callers() -> None:
    log: list[str] = []

    def render() -> bytes:
        log.append("M")
        return b""

    async def others() -> None:
        while log.count("M") < 4:
            log.append(".")
            await asyncio.sleep(0)

    async def run() -> None:
        service: Any = SimpleNamespace(lane=Lane(), scrape=None, metrics=SimpleNamespace(render=render))
        request: Any = None
        await asyncio.gather(others(), *(metrics(service, request) for _ in range(4)))

    asyncio.run(run())
    rendered = "".join(log).split("M")
    assert min(map(len, rendered[1:-1])) >= ITERATIONS
