"""What workers share without asking each other: a table of workers, stamps of users, and buckets of rate limits.

The supervisor creates the memory before it forks the workers, so it has no name and no file, and no other process can
open it. Each word is eight aligned bytes, which processors write at once: a reader sees the old or the new value.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WORD = 8  # bytes
WORKER_FIELDS = 4  # words of one worker in the table: see WorkerTable
STAMPS = 65_536  # users by hash; two users with one stamp only invalidate each other's profile
BUCKETS = 65_536  # callers with a bucket at the same time
BUCKET_WORDS = 3  # hash of the name, tokens, time
LOCK_S = 0.05  # the lock is held for microseconds; a holder that is suspended must not suspend the others


class WorkerTable:
    """One row a worker: ready (0 or 1), heartbeats, restarts, and since when it is not ready (monotonic seconds)."""

    def __init__(self, words: "memoryview", n: int) -> None:
        self.n = n
        self._words, self._times = words.cast("Q"), words.cast("d")

    def show_ready(self, worker: int, *, ready: bool, now: float) -> None:
        """Written by the worker once it listens, and by the supervisor when it starts or has ended."""
        start = worker * WORKER_FIELDS
        self._words[start] = ready
        self._times[start + 3] = now

    def beat(self, worker: int) -> None:
        """Called by the worker's event loop now and then, so that the supervisor knows that it turns."""
        self._words[worker * WORKER_FIELDS + 1] += 1

    def beats(self, worker: int) -> int:
        return self._words[worker * WORKER_FIELDS + 1]

    def count_restart(self, worker: int) -> None:
        """Called by the supervisor."""
        self._words[worker * WORKER_FIELDS + 2] += 1

    def restarts(self) -> list[int]:
        """The number of restarts of each worker."""
        return [self._words[worker * WORKER_FIELDS + 2] for worker in range(self.n)]

    def is_ready(self, worker: int) -> bool:
        return bool(self._words[worker * WORKER_FIELDS])

    def not_ready_s(self, now: float) -> dict[int, float]:
        """For each worker that is not ready, for how many seconds it has not been."""
        return {
            worker: max(0.0, now - self._times[worker * WORKER_FIELDS + 3])
            for worker in range(self.n)
            if not self.is_ready(worker)
        }


class UserStamps:
    """A random word for each user, replaced when the user's events change.

    A worker that cached something of the user compares the word that it read before with the current one. Random
    words, unlike counters, need no lock: two workers never write the same one.
    """

    def __init__(self, words: "memoryview") -> None:
        self._words = words.cast("Q")

    def of(self, user_id: str) -> int:
        """The user's current stamp."""
        return self._words[hash(user_id) % STAMPS]  # forked processes hash alike

    def replace(self, user_ids: Iterable[str]) -> None:
        """Outdate what all workers know of these users, from their next request on."""
        new = int.from_bytes(os.urandom(WORD), "little")  # no generator, whose state a fork would share
        for user_id in user_ids:
            self._words[hash(user_id) % STAMPS] = new


class SharedBuckets:
    """The bytes of all rate limits' buckets, and a lock for each group of them that a dead worker cannot hold."""

    def __init__(self, words: "memoryview", file: int, offset: int) -> None:
        self.words = words
        self._file = file
        self._offset = offset

    @contextmanager
    def locked(self, start: int, length: int) -> Iterator[None]:
        """Hold the lock of these bytes against other workers; go on without it after LOCK_S."""
        where = length, self._offset + start
        held = self._lock(where)
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self._file, fcntl.LOCK_UN, *where)

    def _lock(self, where: tuple[int, int]) -> bool:
        until = 0.0
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, *where)
            except (BlockingIOError, PermissionError):  # POSIX allows either for a lock that another holds
                now = time.monotonic()
                until = until or now + LOCK_S
                if now >= until:
                    return False
                os.sched_yield()  # the holder may have been preempted
            else:
                return True


@dataclass(frozen=True)
class SharedMemory:
    """The parts of one mapping."""

    table: WorkerTable
    stamps: UserStamps
    buckets: SharedBuckets

    @classmethod
    def create(cls, n_workers: int) -> "SharedMemory":
        """New memory of zeros, which processes forked from this one share. Pages take room once they are written."""
        sizes = [n_workers * WORKER_FIELDS * WORD, STAMPS * WORD, BUCKETS * BUCKET_WORDS * WORD]
        file = os.memfd_create("anchorrec-workers")
        os.ftruncate(file, sum(sizes))
        memory = memoryview(mmap.mmap(file, sum(sizes)))
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        table, stamps, buckets = (memory[end - size : end] for size, end in zip(sizes, ends, strict=True))
        return cls(WorkerTable(table, n_workers), UserStamps(stamps), SharedBuckets(buckets, file, ends[1]))
