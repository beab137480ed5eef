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
from service.retrain import job_store as job_store_module
from service.retrain.job import Job
from service.retrain.job_store import JobStore, JobStoreUnavailableError
from service.retrain.redis_job_store import RedisJobStore
from service.retrain.sqlite_job_store import SqliteJobStore

Steps = Callable[[JobStore], Awaitable[None]]
LEASE_S, SHORT_S = 600.0, 0.05


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Valkey(tmp_path_factory.mktemp("valkey")).start()
    yield server.url
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], JobStore]:
    """Open the same store anew, as another replica or the next process does."""
    if request.param == "sqlite":
        return lambda: SqliteJobStore(tmp_path / "control.sqlite", time.time)
    url = request.getfixturevalue("redis_url")
    return lambda: RedisJobStore(connect(url), tmp_path.name)


def run(opened: Callable[[], JobStore], *steps: Steps) -> None:
    """Each step with the store opened anew."""

    async def one(step: Steps) -> None:
        store = opened()
        try:
            await step(store)
        finally:
            await store.close()

    for step in steps:
        asyncio.run(one(step))


def job(name: str = "a", **changes: Any) -> Job:
    fields = {"trigger": "call", "asked_by": "me", "created_at": 1.0, "events_position": 0, "launcher": "process"}
    return Job(id=name, **{**fields, **changes})


def test_one_job_runs_and_a_second_is_told_which(opened: Callable[[], JobStore]) -> None:
    async def first(store: JobStore) -> None:
        assert await store.submit(job("a")) is None

    async def second(store: JobStore) -> None:
        assert await store.submit(job("b")) == job("a")
        assert await store.running() == job("a")
        assert await store.find("b") is None

    run(opened, first, second)


def test_of_many_submitted_at_once_by_many_replicas_one_is_taken(opened: Callable[[], JobStore]) -> None:
    taken: list[str] = []
    gate = threading.Barrier(8)

    def replica(name: str) -> None:
        async def submit(store: JobStore) -> None:
            gate.wait()
            if await store.submit(job(name)) is None:
                taken.append(name)

        run(opened, submit)

    threads = [threading.Thread(target=replica, args=(f"job-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_one_leads_until_its_lease_runs_out_and_tokens_ascend(opened: Callable[[], JobStore]) -> None:
    async def steps(store: JobStore) -> None:
        first = await store.acquire_lease(LEASE_S)
        assert first is not None
        assert await store.acquire_lease(LEASE_S) is None
        assert await store.renew_lease(first, SHORT_S)
        second = None
        async with asyncio.timeout(60):
            while second is None:
                second = await store.acquire_lease(LEASE_S)
        assert second > first
        assert not await store.renew_lease(first, LEASE_S)
        await store.release_lease(first)  # is not the holder's to give
        assert await store.acquire_lease(LEASE_S) is None
        await store.release_lease(second)
        assert await store.acquire_lease(LEASE_S) is not None

    run(opened, steps)


def test_a_leader_of_before_cannot_change_a_job(opened: Callable[[], JobStore]) -> None:
    async def steps(store: JobStore) -> None:
        old = await store.acquire_lease(LEASE_S) or 0
        await store.submit(job())
        assert await store.save(job(reason="by the old"), old)
        await store.release_lease(old)
        new = await store.acquire_lease(LEASE_S) or 0
        assert not await store.save(job(reason="too late", state="failed"), old)
        assert await store.running() == job(reason="by the old")
        assert await store.save(job(reason="by the new"), new)

    run(opened, steps)


def test_a_job_that_ended_makes_room_and_is_still_found(opened: Callable[[], JobStore]) -> None:
    async def end(store: JobStore) -> None:
        token = await store.acquire_lease(LEASE_S) or 0
        await store.submit(job("a"))
        await store.save(job("a", state="failed", reason="so it is"), token)

    async def look(store: JobStore) -> None:
        assert await store.running() is None
        assert await store.submit(job("b", created_at=2.0)) is None
        assert await store.find("a") == job("a", state="failed", reason="so it is")
        assert [found.id for found in await store.newest(10)] == ["b", "a"]
        assert [found.id for found in await store.newest(1)] == ["b"]

    run(opened, end, look)


def test_words_left_for_a_job_stay_and_the_first_of_a_kind_counts(opened: Callable[[], JobStore]) -> None:
    async def post(store: JobStore) -> None:
        await store.submit(job("a"))
        assert await store.messages("a") == {}
        assert await store.post_message("a", "result", '{"bundle": "é"}')
        assert not await store.post_message("a", "result", "{}")

    async def look(store: JobStore) -> None:
        await store.post_message("a", "cancel", "")
        assert await store.messages("a") == {"result": '{"bundle": "é"}', "cancel": ""}
        assert await store.messages("b") == {}

    run(opened, post, look)


def test_old_jobs_are_forgotten_with_their_words(
    opened: Callable[[], JobStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite_job_store", "redis_job_store"):
        monkeypatch.setattr(f"service.retrain.{module}.MAX_JOBS", 3)

    async def steps(store: JobStore) -> None:
        token = await store.acquire_lease(30) or 0
        for n in range(6):
            await store.submit(job(f"job-{n}", created_at=float(n)))
            await store.post_message(f"job-{n}", "cancel", "")
            await store.save(job(f"job-{n}", created_at=float(n), state="cancelled"), token)
        names = [found.id for found in await store.newest(10)]
        assert names[:3] == ["job-5", "job-4", "job-3"]
        assert len(names) <= 4
        assert await store.messages("job-0") == {}

    run(opened, steps)
    assert job_store_module.MAX_JOBS == 200


def test_a_store_that_is_away_says_so_and_comes_back(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey").start()

    async def steps() -> None:
        store = RedisJobStore(connect(server.url), "reco")
        await store.submit(job())
        server.kill()
        with pytest.raises(JobStoreUnavailableError):
            await store.running()
        server.start()
        assert await store.submit(job("b")) in (None, job())
        await store.close()

    asyncio.run(steps())
    server.kill()


def test_a_clock_that_is_set_back_does_not_keep_the_lease_for_ever(tmp_path: Path) -> None:
    now = [1_000_000.0]

    async def steps() -> None:
        store = SqliteJobStore(tmp_path / "control.sqlite", lambda: now[0])
        assert await store.acquire_lease(10) is not None
        now[0] -= 86_400
        assert await store.acquire_lease(10) is not None
        await store.close()

    asyncio.run(steps())


async def spoil(store: JobStore, record: bytes) -> None:
    """Replace the record of job a."""
    if isinstance(store, SqliteJobStore):
        store._connection.execute("UPDATE jobs SET record = CAST(? AS TEXT) WHERE id = 'a'", (record,))
    elif isinstance(store, RedisJobStore):
        await store._redis.hset(store._jobs, "a", record)  # type: ignore[misc]


BAD_RECORDS = [
    *(b"", b"no JSON", b"\xff", b"[]", b'{"id": "a"}', b"[" * 100_000),
    job("../..").model_dump_json().encode(),  # the name of a folder that is deleted later
    job(created_at=1e300).model_dump_json().encode(),
]


@pytest.mark.parametrize("record", BAD_RECORDS)
@pytest.mark.parametrize("by", ["submit", "running"])
def test_a_running_record_that_is_no_job_makes_room_for_the_next_one(
    opened: Callable[[], JobStore], record: bytes, by: str
) -> None:
    async def steps(store: JobStore) -> None:
        unreadable: list[Exception] = []
        store._on_unreadable = unreadable.append  # type: ignore[attr-defined]
        await store.submit(job("a"))
        await spoil(store, record)
        assert await store.find("a") is None
        assert list(await store.newest(1)) == []
        assert len(unreadable) == 2
        if by == "running":
            assert await store.running() is None
        assert await store.submit(job("b")) is None
        assert await store.running() == job("b")
        assert len(unreadable) == 3

    run(opened, steps)


def test_a_record_of_a_later_version_is_the_job_that_this_one_knows(opened: Callable[[], JobStore]) -> None:
    async def steps(store: JobStore) -> None:
        await store.submit(job("a"))
        await spoil(store, job("a").model_dump_json().encode()[:-1] + b', "of a later version": 1}')
        assert await store.running() == job("a")
        assert await store.submit(job("b")) == job("a")

    run(opened, steps)


@pytest.mark.parametrize("value", [b"no number", b"1.5", b"9" * 19, b"9" * 30])
def test_a_damaged_token_stops_no_leader(redis_url: str, tmp_path: Path, value: bytes) -> None:
    async def steps() -> None:
        store = RedisJobStore(connect(redis_url), tmp_path.name)
        before = await store.acquire_lease(LEASE_S)
        assert before is not None
        await store.release_lease(before)
        await store._redis.set(store._keys[1], value)
        after = await store.acquire_lease(LEASE_S)
        assert after is not None
        assert after > before
        await store.close()

    asyncio.run(steps())


@pytest.mark.parametrize("ttl_s", [None, 86_400])
def test_a_lease_that_is_none_keeps_no_replica_from_leading(redis_url: str, tmp_path: Path, ttl_s: int | None) -> None:
    async def steps() -> None:
        store = RedisJobStore(connect(redis_url), tmp_path.name)
        await store._redis.set(store._keys[0], "x", ex=ttl_s)
        token = await store.acquire_lease(LEASE_S)
        assert token is not None
        assert await store.renew_lease(token, LEASE_S)
        assert await store.acquire_lease(LEASE_S) is None
        await store.close()

    asyncio.run(steps())
