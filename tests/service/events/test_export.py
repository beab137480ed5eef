import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_events import NOON, made, several
from processes import run

from index.errors import InputError
from service.events import export
from service.events.export import export_events
from service.events.log import EventLog
from service.events.open_log import open_log
from service.settings import Settings
from service.telemetry.metrics import Metrics
from trainer.datasets.event_log import read_feedback


def use(folder: Path, steps: Callable[[EventLog], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_log(Settings(registry=folder), Metrics(), time.time) as log:
            await steps(log)

    asyncio.run(opened())


def test_the_file_holds_every_event_with_its_position_and_the_trainer_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    given = [
        made("1", value=0.25, request_id="r1", bundle="b1"),
        made("2", user_id="用户\x00七", kind="dislike"),
        made("3", kind="impression", item_id="", value=10, arm="bigger/1/candidate"),
        made("4", user_id="bob", item_id="item-2", kind="like", timestamp=NOON + 0.5),
    ]

    async def steps(log: EventLog) -> None:
        await log.append(given)
        assert tuple(await export_events(log, out)) == (4, 0, 4, 0)

    use(tmp_path, steps)
    rows = pq.read_table(out).to_pylist()
    assert rows == [event.model_dump() | {"position": i} for i, event in enumerate(given, 1)]
    feedback = read_feedback(out)
    assert (feedback.last_position, feedback.pairs.height) == (4, 3)


def test_an_export_goes_on_where_the_last_one_ended_and_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CHUNK", 40)
    told: list[tuple[int, int]] = []

    async def steps(log: EventLog) -> None:
        await log.append(several(100))
        first = await export_events(log, tmp_path / "1.parquet", on_progress=lambda done, of: told.append((done, of)))
        await log.append(several(50, start=100))
        second = await export_events(log, tmp_path / "2.parquet", after=first.last_position)
        assert (first.events, second.events, second.last_position) == (100, 50, 150)
        third = await export_events(log, tmp_path / "3.parquet", after=150)
        assert tuple(third) == (0, 150, 150, 0)

    use(tmp_path, steps)
    assert told == [(40, 100), (80, 100), (100, 100)]
    ids = [row["event_id"] for i in (1, 2, 3) for row in pq.read_table(tmp_path / f"{i}.parquet").to_pylist()]
    assert ids == [event.event_id for event in several(150)]


def test_events_that_come_during_an_export_are_left_for_the_next_one(tmp_path: Path) -> None:
    async def steps(log: EventLog) -> None:
        await log.append(several(10))

        class Growing:
            def __getattr__(self, name: str) -> Any:
                return getattr(log, name)

            async def read(self, after: int, limit: int) -> Any:
                await log.append([made(f"late-{after}")])
                return await log.read(after, limit)

        found = await export_events(Growing(), tmp_path / "events.parquet")
        assert (found.events, found.last_position) == (10, 10)

    use(tmp_path, steps)


def test_a_failed_export_leaves_the_file_of_before_and_marks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    out.write_bytes(b"of before")

    async def steps(log: EventLog) -> None:
        await log.append(several(10))
        with pytest.raises(InputError, match=r"log ends at position 10, .*not before 11"):
            await export_events(log, out, after=11)
        with pytest.raises(InputError, match="cannot be written: No such file or directory; nothing was left"):
            await export_events(log, tmp_path / "absent" / "events.parquet")

    use(tmp_path, steps)
    assert out.read_bytes() == b"of before"
    assert not list(tmp_path.glob(".writing-*"))


def test_the_command_line_writes_the_file_and_says_how_far_it_goes(tmp_path: Path) -> None:
    use(tmp_path, _write)
    out = tmp_path / "events.parquet"
    done = run("export-events", "--out", str(out), "--after", "3", registry=tmp_path)
    assert done.returncode == 0, done.stderr
    told = {"file": str(out), "events": 7, "after": 3, "last_position": 10, "unreadable": 0}
    assert (json.loads(done.stdout), done.stderr) == (told, "")
    assert pq.read_table(out).num_rows == 7
    bad = run("export-events", "--out", str(out), "--after", "99", registry=tmp_path)
    assert (bad.returncode, len(bad.stderr.splitlines())) == (2, 1)


async def _write(log: EventLog) -> None:
    await log.append(several(10))
