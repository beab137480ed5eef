"""What workers share in memory: the same answers as one process would give, whichever of them is asked."""

import os

from hypothesis import given
from hypothesis import strategies as st

from service.http.security.mapped_rate_limit import BUCKETS, WAYS, MappedTokenBuckets
from service.http.security.rate_limit import Rate, TokenBuckets
from service.workers.shared_memory import SharedMemory

steps = st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2), st.integers(0, 5)), max_size=40)


@given(steps=steps, per_s=st.floats(0.1, 20), burst=st.integers(1, 9))
def test_shared_buckets_admit_what_one_process_admits(
    steps: list[tuple[str, float, int]], per_s: float, burst: int
) -> None:
    now, rate = 1.0, Rate(per_s, burst)
    memory = SharedMemory.create(2)
    alone = TokenBuckets(lambda: now)
    workers = [MappedTokenBuckets(memory.buckets, lambda: now) for _ in range(2)]
    for turn, (name, pause_s, more) in enumerate(steps):
        now += pause_s
        worker = workers[turn % 2]
        wait_s = alone.take(name, rate)
        assert worker.take(name, rate) == wait_s
        if not wait_s:
            assert worker.take_more(name, rate, more) == alone.take_more(name, rate, more)


def test_processes_that_take_at_the_same_time_take_no_token_twice() -> None:
    memory, rate, n_processes, burst = SharedMemory.create(1), Rate(1e-9, 1_500), 3, 1_500
    buckets = MappedTokenBuckets(memory.buckets, lambda: 1.0)
    reading, writing = os.pipe()
    for _ in range(n_processes):
        if os.fork() == 0:
            admitted = sum(buckets.take("shop", rate) == 0 for _ in range(burst))
            os.write(writing, f"{admitted}\n".encode())
            os._exit(0)
    for _ in range(n_processes):
        os.wait()
    assert sum(map(int, os.read(reading, 1_000).split())) == burst


def test_a_caller_without_a_place_takes_that_of_the_one_away_for_longest() -> None:
    now, rate = 1.0, Rate(1e-9, 1)
    buckets = MappedTokenBuckets(SharedMemory.create(1).buckets, lambda: now)
    groups = BUCKETS // WAYS
    names: dict[int, list[str]] = {}
    crowd = next(
        found
        for i in range(10**6)
        if len(found := names.setdefault(hash(str(i)) % groups, [])) > WAYS or found.append(str(i))
    )
    for name in crowd:
        now += 1
        assert buckets.take(name, rate) == 0
    assert buckets.take(crowd[-1], rate) > 0
    assert buckets.take(crowd[0], rate) == 0


def test_a_user_with_new_events_has_another_stamp_and_most_others_keep_theirs() -> None:
    stamps = SharedMemory.create(2).stamps
    before = {user: stamps.of(user) for user in map(str, range(100))}
    stamps.replace(["7"])
    changed = {user for user, stamp in before.items() if stamps.of(user) != stamp}
    assert "7" in changed
    assert len(changed) < 10


def test_a_worker_that_has_ended_is_not_ready_since_then() -> None:
    table = SharedMemory.create(3).table
    for number in range(3):
        table.show_ready(number, ready=True, now=1.0)
    table.show_ready(0, ready=False, now=2.0)
    assert table.not_ready_s(5.0) == {0: 3.0}
