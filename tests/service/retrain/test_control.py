"""What replicas agree on, in SQLite and in Redis alike: one job, one leader, nothing undone by a leader of before."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Valkey

from service.redis.client import connect
from service.retrain import control as control_module
from service.retrain.control import Control, ControlUnavailableError
from service.retrain.job import Job
from service.retrain.redis_control import RedisControl
from service.retrain.sqlite_control import SqliteControl

Steps = Callable[[Control], Awaitable[None]]
LEASE_S, SHORT_S = 600.0, 0.05


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Valkey(tmp_path_factory.mktemp("valkey")).start()
    yield server.url
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Control]:
    """Open the same store anew, as another replica or the next process does."""
    if request.param == "sqlite":
        return lambda: SqliteControl(tmp_path / "control.sqlite", time.time)
    url = request.getfixturevalue("redis_url")
    return lambda: RedisControl(connect(url), tmp_path.name)


def run(opened: Callable[[], Control], *steps: Steps) -> None:
    """Each step with the store opened anew."""

    async def one(step: Steps) -> None:
        control = opened()
        try:
            await step(control)
        finally:
            await control.close()

    for step in steps:
        asyncio.run(one(step))


def job(name: str = "a", **changes: Any) -> Job:
    fields = {"trigger": "call", "asked_by": "me", "created_at": 1.0, "events_position": 0, "launcher": "process"}
    return Job(id=name, **{**fields, **changes})


def test_one_job_runs_and_a_second_is_told_which(opened: Callable[[], Control]) -> None:
    async def first(control: Control) -> None:
        assert await control.submit(job("a")) is None

    async def second(control: Control) -> None:
        assert await control.submit(job("b")) == job("a")
        assert await control.running() == job("a")
        assert await control.find("b") is None

    run(opened, first, second)


def test_of_many_submitted_at_once_by_many_replicas_one_is_taken(opened: Callable[[], Control]) -> None:
    taken: list[str] = []
    gate = threading.Barrier(8)

    def replica(name: str) -> None:
        async def submit(control: Control) -> None:
            gate.wait()
            if await control.submit(job(name)) is None:
                taken.append(name)

        run(opened, submit)

    threads = [threading.Thread(target=replica, args=(f"job-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_one_leads_until_its_lease_runs_out_and_tokens_ascend(opened: Callable[[], Control]) -> None:
    async def steps(control: Control) -> None:
        first = await control.lead(LEASE_S)
        assert first is not None
        assert await control.lead(LEASE_S) is None
        assert await control.renew(first, SHORT_S)
        second = None
        async with asyncio.timeout(60):
            while second is None:
                second = await control.lead(LEASE_S)
        assert second > first
        assert not await control.renew(first, LEASE_S)
        await control.leave(first)  # is not the holder's to give
        assert await control.lead(LEASE_S) is None
        await control.leave(second)
        assert await control.lead(LEASE_S) is not None

    run(opened, steps)


def test_a_leader_of_before_cannot_change_a_job(opened: Callable[[], Control]) -> None:
    async def steps(control: Control) -> None:
        old = await control.lead(LEASE_S) or 0
        await control.submit(job())
        assert await control.save(job(reason="by the old"), old)
        await control.leave(old)
        new = await control.lead(LEASE_S) or 0
        assert not await control.save(job(reason="too late", state="failed"), old)
        assert await control.running() == job(reason="by the old")
        assert await control.save(job(reason="by the new"), new)

    run(opened, steps)


def test_a_job_that_ended_makes_room_and_is_still_found(opened: Callable[[], Control]) -> None:
    async def end(control: Control) -> None:
        token = await control.lead(LEASE_S) or 0
        await control.submit(job("a"))
        await control.save(job("a", state="failed", reason="so it is"), token)

    async def look(control: Control) -> None:
        assert await control.running() is None
        assert await control.submit(job("b", created_at=2.0)) is None
        assert await control.find("a") == job("a", state="failed", reason="so it is")
        assert [found.id for found in await control.newest(10)] == ["b", "a"]
        assert [found.id for found in await control.newest(1)] == ["b"]

    run(opened, end, look)


def test_words_left_for_a_job_stay_and_the_first_of_a_kind_counts(opened: Callable[[], Control]) -> None:
    async def tell(control: Control) -> None:
        await control.submit(job("a"))
        assert await control.told("a") == {}
        await control.tell("a", "result", '{"bundle": "é"}')
        await control.tell("a", "result", "{}")

    async def look(control: Control) -> None:
        await control.tell("a", "cancel", "")
        assert await control.told("a") == {"result": '{"bundle": "é"}', "cancel": ""}
        assert await control.told("b") == {}

    run(opened, tell, look)


def test_old_jobs_are_forgotten_with_their_words(
    opened: Callable[[], Control], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite_control", "redis_control"):
        monkeypatch.setattr(f"service.retrain.{module}.KEPT_JOBS", 3)

    async def steps(control: Control) -> None:
        token = await control.lead(30) or 0
        for n in range(6):
            await control.submit(job(f"job-{n}", created_at=float(n)))
            await control.tell(f"job-{n}", "cancel", "")
            await control.save(job(f"job-{n}", created_at=float(n), state="cancelled"), token)
        names = [found.id for found in await control.newest(10)]
        assert names[:3] == ["job-5", "job-4", "job-3"]
        assert len(names) <= 4
        assert await control.told("job-0") == {}

    run(opened, steps)
    assert control_module.KEPT_JOBS == 200


def test_a_store_that_is_away_says_so_and_comes_back(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey").start()

    async def steps() -> None:
        control = RedisControl(connect(server.url), "reco")
        await control.submit(job())
        server.kill()
        with pytest.raises(ControlUnavailableError):
            await control.running()
        server.start()
        assert await control.submit(job("b")) in (None, job())
        await control.close()

    asyncio.run(steps())
    server.kill()


def test_a_clock_that_is_set_back_does_not_keep_the_lease_for_ever(tmp_path: Path) -> None:
    now = [1_000_000.0]

    async def steps() -> None:
        control = SqliteControl(tmp_path / "control.sqlite", lambda: now[0])
        assert await control.lead(10) is not None
        now[0] -= 86_400
        assert await control.lead(10) is not None
        await control.close()

    asyncio.run(steps())
