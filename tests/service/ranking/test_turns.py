"""Long computations go on in slices, one at a time, and the event loop has iterations for others in between."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from index.recommending.steps import Steps
from service.ranking.turns import ITERATIONS, SLICE_S, Lane, Turn


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run(body: Callable[[Lane, Clock], Awaitable[None]]) -> None:
    async def in_loop() -> None:
        await body(Lane(), Clock())

    asyncio.run(in_loop())


async def compute(turn: Turn, clock: Clock, name: str, n_slices: int, log: list[str]) -> None:
    """Compute for so many slices; the log has the name of each."""
    try:
        await turn.begin()
        for _ in range(n_slices):
            clock.now += 1.5 * SLICE_S
            log.append(name)
            await turn.pause()
    finally:
        turn.end()


def test_what_computes_for_less_than_a_slice_never_waits() -> None:
    async def body(lane: Lane, clock: Clock) -> None:
        await lane.acquire()
        turn = Turn(lane, clock=clock)
        steps = turn.begin(), turn.pause()
        clock.now += SLICE_S / 2
        for step in steps:
            with pytest.raises(StopIteration):  # without an await
                step.send(None)

    run(body)


def test_long_ones_take_turns_slice_by_slice() -> None:
    async def body(lane: Lane, clock: Clock) -> None:
        log: list[str] = []
        await asyncio.gather(*(compute(Turn(lane, long=True, clock=clock), clock, name, 3, log) for name in "abc"))
        assert "".join(log) == "aabcabcbc"  # the first one finds the lane free twice
        assert not lane.locked()

    run(body)


def test_however_many_compute_the_loop_has_iterations_between_two_slices() -> None:
    async def body(lane: Lane, clock: Clock) -> None:
        log: list[str] = []
        turns = [Turn(lane, long=True, clock=clock) for _ in range(20)]
        long = asyncio.gather(*(compute(turn, clock, "slice", 5, log) for turn in turns))
        while not long.done():
            log.append("iteration")
            await asyncio.sleep(0)
        places = [place for place, what in enumerate(log) if what == "slice"]
        assert len(places) == 100
        assert min(later - earlier for earlier, later in itertools.pairwise(places)) > ITERATIONS

    run(body)


def test_who_is_not_known_to_be_long_takes_its_turn_after_a_slice() -> None:
    async def body(lane: Lane, clock: Clock) -> None:
        log: list[str] = []
        known = compute(Turn(lane, long=True, clock=clock), clock, "a", 3, log)
        unknown = compute(Turn(lane, clock=clock), clock, "b", 3, log)
        await asyncio.gather(known, unknown)
        assert "".join(log) == "ababab"

    run(body)


def test_a_cancelled_request_leaves_the_lane_to_others() -> None:
    async def body(lane: Lane, clock: Clock) -> None:
        log: list[str] = []
        first, second, third = (
            asyncio.ensure_future(compute(Turn(lane, long=True, clock=clock), clock, name, 100, log)) for name in "abc"
        )
        await asyncio.sleep(0)
        first.cancel()  # while it holds the lane
        second.cancel()  # while it waits for it
        await third
        assert log.count("c") == 100
        assert not lane.locked()

    run(body)


def test_steps_give_their_result() -> None:
    def steps() -> Steps[str]:
        yield
        yield
        return "done"

    async def body(lane: Lane, clock: Clock) -> None:
        assert await Turn(lane, clock=clock).run(steps()) == "done"

    run(body)
