import random

from service.redis.circuit_breaker import CircuitBreaker

RETRY_S = 10.0


class World:
    """A circuit with three allowed failures, a clock that is set by hand, and the states that it went through."""

    def __init__(self) -> None:
        self.now = 0.0
        self.states: list[str] = []
        self.circuit = CircuitBreaker(
            failures=3,
            retry_s=RETRY_S,
            clock=lambda: self.now,
            rng=random.Random(0),
            on_change=self.states.append,
        )

    def break_it(self) -> None:
        for _ in range(3):
            assert self.circuit.allows()
            self.circuit.failed()


def test_it_stays_closed_while_failures_are_not_in_a_row() -> None:
    world = World()
    for _ in range(5):
        world.circuit.failed()
        world.circuit.failed()
        world.circuit.succeeded()
    assert world.circuit.state.value == "closed"
    assert world.circuit.allows()


def test_it_opens_after_three_failures_in_a_row_and_lets_nobody_through() -> None:
    world = World()
    world.break_it()
    assert world.circuit.state.value == "open"
    assert not world.circuit.allows()


def test_after_the_pause_one_caller_probes_and_the_others_still_wait() -> None:
    world = World()
    world.break_it()
    world.now += RETRY_S * 1.2
    assert [world.circuit.allows() for _ in range(3)] == [True, False, False]
    assert world.circuit.state.value == "half_open"


def test_a_probe_that_succeeds_closes_it() -> None:
    world = World()
    world.break_it()
    world.now += RETRY_S * 1.2
    assert world.circuit.allows()
    world.circuit.succeeded()
    assert world.circuit.allows()
    assert world.circuit.allows()
    closed, opened, half = "closed", "open", "half_open"
    assert world.states == [closed, opened, half, closed]


def test_a_probe_that_fails_opens_it_for_another_pause() -> None:
    world = World()
    world.break_it()
    world.now += RETRY_S * 1.2
    assert world.circuit.allows()
    world.circuit.failed()
    assert not world.circuit.allows()
    world.now += RETRY_S * 1.2
    assert world.circuit.allows()


def test_the_pause_varies_between_replicas_by_a_fifth_at_most() -> None:
    pauses = set()
    for seed in range(20):
        world = World()
        world.circuit._rng.seed(seed)
        world.break_it()
        pauses.add(world.circuit._retry_at)
    assert len(pauses) == 20
    assert all(RETRY_S * 0.8 <= pause <= RETRY_S * 1.2 for pause in pauses)
