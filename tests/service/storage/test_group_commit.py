import asyncio
from collections.abc import Awaitable, Callable

import pytest
from made_events import made, several

from service.events.event import Event
from service.events.log import LogUnavailable
from service.events.writes import EventWrites
from service.storage.group_commit import MOST_TOGETHER
from service.telemetry.metrics import Metrics


class Disk:
    """A write that ends when it is told to, and what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def write(self, events: list[Event]) -> list[str]:
        self.batches.append([event.event_id for event in events])
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return self.batches[-1]

    async def tidy(self) -> None:
        pass


def use(steps: Callable[[Disk, EventWrites], Awaitable[None]]) -> Metrics:
    metrics = Metrics()

    async def run() -> None:
        disk = Disk()
        await steps(disk, EventWrites(disk.write, disk.tidy, metrics, most_waiting=100_000))

    asyncio.run(run())
    return metrics


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def test_what_comes_while_a_write_is_under_way_is_written_together_and_nobody_is_answered_before() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        waiting = [asyncio.ensure_future(commits.append([made("0")]))]
        await turns()
        waiting += [asyncio.ensure_future(commits.append([made(str(i))])) for i in range(1, 40)]
        await turns()
        assert disk.batches == [["0"]]
        assert not any(one.done() for one in waiting)
        assert commits.n_waiting == 40
        disk.may_end.set()
        await asyncio.gather(*waiting)
        assert disk.batches[1] == [str(i) for i in range(1, 40)]
        assert commits.n_waiting == 0

    metrics = use(steps)
    assert metrics.registry.get_sample_value("reco_event_write_seconds_count") == 2


def test_a_write_is_bounded_and_a_call_is_never_torn() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        disk.may_end.set()
        await asyncio.gather(*(commits.append(several(1_000, start=1_000 * i)) for i in range(10)))
        assert {len(batch) for batch in disk.batches} <= {i * 1_000 for i in range(1, MOST_TOGETHER // 1_000 + 1)}
        assert sum(map(len, disk.batches)) == 10_000

    use(steps)


def test_a_failed_write_fails_all_that_were_in_it_and_the_next_one_is_tried() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        disk.may_end.set()
        disk.error = LogUnavailable("the disk is full")
        found = await asyncio.gather(*(commits.append([made(str(i))]) for i in range(3)), return_exceptions=True)
        assert found == [disk.error] * 3
        disk.error = None
        assert (await commits.append([made("again")])).n_new == 1

    use(steps)


def test_a_caller_who_goes_takes_nobody_along() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        gone, stays = (asyncio.ensure_future(commits.append([made(name)])) for name in ("gone", "stays"))
        await turns()
        gone.cancel()
        disk.may_end.set()
        assert (await stays).n_new == 1
        assert disk.batches == [["gone", "stays"]]

    use(steps)


def test_a_writer_that_is_stopped_leaves_nobody_waiting() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        waiting = [asyncio.ensure_future(commits.append([made(str(i))])) for i in range(2)]
        await turns()
        waiting.append(asyncio.ensure_future(commits.append([made("queued")])))
        await turns()
        assert commits._task is not None
        commits._task.cancel()
        for one in waiting:
            with pytest.raises(LogUnavailable, match="closing"):
                await one
        assert commits.n_waiting == 0

    use(steps)


def test_no_events_are_no_write() -> None:
    async def steps(disk: Disk, commits: EventWrites) -> None:
        assert (await commits.append([])).n_new == 0
        assert disk.batches == []

    use(steps)
