"""A background task that ends, for whatever reason, is told about and started again."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lively import until
from servers import Valkey, counted, logged_by, serving, wait_until

from service import background
from service.background import start_worker, supervised
from service.events.follower import EventFollower
from service.http.security.keys import new_key
from service.telemetry.metrics import Metrics


class RustPanicError(BaseException):
    """As libraries in Rust raise it: no Exception."""


def raises(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def recurse() -> None:
    recurse()


def cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


ENDS: dict[str, Callable[[], None]] = {
    "it returned": lambda: None,
    "ValueError": raises(ValueError("bad")),
    "MemoryError": raises(MemoryError()),
    "RecursionError": recurse,
    "CancelledError": raises(asyncio.CancelledError()),
    "CancelledError from outside": cancel,
    "RustPanicError": raises(RustPanicError()),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("FIRST_S", 0.01), ("MAX_S", 0.04), ("STEADY_S", 0.05)):
        monkeypatch.setattr(background, name, seconds)


def sampled(metrics: Metrics, name: str, task: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"task": task})


@pytest.mark.parametrize("end", ENDS)
def test_a_task_that_ends_is_logged_counted_shown_and_started_again(end: str) -> None:
    metrics, starts = Metrics(), []

    async def work() -> None:
        starts.append(end)
        if len(starts) == 1:
            ENDS[end]()
            await asyncio.sleep(0.001)
            if end != "CancelledError from outside":
                return
        await asyncio.Event().wait()

    async def run() -> None:
        async with supervised(metrics, {"work": work}):
            assert sampled(metrics, "reco_background_task_up", "work") == 1
            await until(lambda: metrics.failing_tasks)
            assert metrics.failing_tasks == {"work": end.removesuffix(" from outside")}
            assert sampled(metrics, "reco_background_task_up", "work") == 0
            await until(lambda: len(starts) == 2)
            assert metrics.failing_tasks, "it must run for a while first"
            await until(lambda: not metrics.failing_tasks)
            assert sampled(metrics, "reco_background_task_up", "work") == 1
        assert len(starts) == 2

    with logged_by(background) as logs:
        asyncio.run(run())
    assert sampled(metrics, "reco_background_task_failures_total", "work") == 1
    (told,) = logs
    assert (told["event"], told["task"]) == ("background task ended unexpectedly", "work")
    assert isinstance(told["exc_info"], BaseException) == (end != "it returned")


def test_a_task_that_always_fails_waits_twice_as_long_each_time_up_to_a_limit() -> None:
    metrics = Metrics()

    async def run() -> None:
        async with supervised(metrics, {"work": fails}):
            await until(lambda: len(logs) == 5)

    async def fails() -> None:
        raise ValueError

    with logged_by(background) as logs:
        asyncio.run(run())
    assert [told["restart_in_s"] for told in logs[:5]] == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_one_that_is_cancelled_while_it_waits_for_its_restart_is_restarted_too() -> None:
    metrics, starts = Metrics(), []

    async def work() -> None:
        starts.append(1)
        raise ValueError

    async def run() -> None:
        async with supervised(metrics, {"work": work}):
            await until(lambda: starts)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await until(lambda: len(starts) == 3)

    asyncio.run(run())


def test_a_log_that_cannot_be_written_ends_no_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []

    async def work() -> None:
        starts.append(1)

    async def run() -> None:
        async with supervised(Metrics(), {"work": work}):
            await until(lambda: len(starts) == 3)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(background.log, "error", full)
    asyncio.run(run())


def test_a_worker_that_fails_is_told_about_until_the_next_one_has_done_its_work() -> None:
    metrics = Metrics()

    async def work(error: BaseException | None) -> None:
        if error is not None:
            raise error

    async def run() -> None:
        for error in (MemoryError(), None):
            await asyncio.wait((start_worker(metrics, "impressions", work(error)),))
            await asyncio.sleep(0)
            assert metrics.failing_tasks == ({} if error is None else {"impressions": "MemoryError"})

    with logged_by(background) as logs:
        asyncio.run(run())
    assert [(told["event"], told["task"]) for told in logs] == [("background task ended unexpectedly", "impressions")]
    assert sampled(metrics, "reco_background_task_failures_total", "impressions") == 1


ALL = {
    "event_follower", "message_listener", "hidden_items", "bundle_follower", "bundle_files", "bundle_canary",
    "rules_file", "api_keys", "audit", "rate_limits", "retraining", "timeouts", "recall_sampler",
    "item_follower", "untrained_items", "living_items", "encoded_items", "forgetting", "archive_cleaning",
    "experiment_follower", "experiments_file", "shadow", "guardrails", "sample_ratio",
}  # fmt: skip


def test_every_task_of_a_service_is_supervised_and_one_that_ends_is_seen_from_outside(
    registry: Path, valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rules.json", "experiments.json"):
        (tmp_path / name).write_text("{}")
    key, line = new_key("ops", "admin")
    (tmp_path / "keys").write_text(line)
    settings = {
        "rules_file": tmp_path / "rules.json", "api_keys_file": tmp_path / "keys", "redis_url": valkey.url,
        "experiments_file": tmp_path / "experiments.json",
        "retrain_data": tmp_path, "live_poll_s": 0.02, "data": tmp_path / "data",
    }  # fmt: skip
    monkeypatch.setattr(background, "MAX_S", 0.3)
    with serving(registry=registry, **settings) as client:
        client.headers["X-API-Key"] = key
        text = client.get("/metrics").text
        assert {line for line in text.splitlines() if line.startswith("reco_background_task_up{")} == {
            f'reco_background_task_up{{task="{task}"}} 1.0' for task in ALL
        }
        wait_until(lambda: counted(client, "reco_live_hears") == 1)
        with monkeypatch.context() as patch:
            patch.setattr(EventFollower, "poll", raises(MemoryError()))
            wait_until(lambda: client.get("/readyz").json()["degraded"] == ["event_follower: MemoryError"])
            assert counted(client, "reco_live_hears") == 0
            assert counted(client, 'reco_background_task_up{task="event_follower"}') == 0
        wait_until(lambda: counted(client, "reco_live_hears") == 1)
        wait_until(lambda: client.get("/readyz").json()["degraded"] == [])


AWAITED = {  # by what starts them, or by the requests that wait for them
    "background.py", "http/connection.py", "users/lookup.py", "bundles/publishing.py", "bundles/comparing.py",
    "retrain/supervisor.py",
    "redis/client.py", "ranking/built_once.py", "ranking/facets.py", "ranking/similar.py",
    "people/forgetting.py", "batch/run.py", "encoding/process.py",
}  # fmt: skip


def test_no_task_is_started_that_nothing_supervises_or_awaits() -> None:
    root = Path(background.__file__).parent
    starters = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"\b(create_task|ensure_future|TaskGroup)\(", path.read_text())
    }
    assert starters <= AWAITED
