"""Steady open arrivals through the proxy, from a thread of its own: what was asked, when, and what came of it."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import httpx
import numpy as np
import orjson

from deploy.processes import HOST
from index.errors import InputError
from loadtests.load_client import LOST, OK, Connection, Pool
from loadtests.rehearsal.sample_shop import ITEMS, USERS, item_id, liked_item, user_id
from loadtests.shop_traffic import EVENT, SHARES, SIMILAR
from loadtests.workloads import raw, zipf_rows

READ = "read"
UNAVAILABLE = 503
CYCLE = 5_000  # users drawn beforehand
MOST_WAIT_S = 40.0  # for the last answers: the proxy tries an event three times ten seconds
MOST_CONNECTIONS = 1_000
RESENDING_S = 30.0
LOOK_S = 0.05


class LoadRequest(NamedTuple):
    """One request."""

    kind: str
    request: bytes
    event: dict[str, str] | None = None


class LoadResponse(NamedTuple):
    """What came of one request. Times are of time.perf_counter."""

    due: float  # when it was to be asked
    kind: str
    status: int  # LOST: the connection broke, or nothing came
    seconds: float  # from when it was due
    event_id: str

    @property
    def good(self) -> bool:
        """It was answered as asked."""
        return self.status in OK

    @property
    def refused(self) -> bool:
        """An event that is to be sent again: nothing was promised, and the service said so."""
        return self.kind == EVENT and self.status == UNAVAILABLE


def requests(run: str, rng: np.random.Generator) -> Iterator[LoadRequest]:
    """What a shop asks: some users far oftener than others, each liking things of their topic."""
    users, items = zipf_rows(USERS, CYCLE, rng).tolist(), zipf_rows(ITEMS, CYCLE, rng).tolist()
    for number in itertools.count():
        user, item = users[number % CYCLE], items[number % CYCLE]
        kind = rng.choice(list(SHARES), p=list(SHARES.values()))
        if kind == EVENT:
            liked = item_id(liked_item(user, rng))
            event = {"event_id": f"{run}-{number}", "user_id": user_id(user), "item_id": liked, "kind": "click"}
            yield LoadRequest(EVENT, raw("/events", body=orjson.dumps(event)), event)
        else:
            path = f"/similar/{item_id(item)}" if kind == SIMILAR else f"/recommend/{user_id(user)}?k=10"
            yield LoadRequest(READ, raw(path))


@dataclass
class BackgroundLoad:
    """Asks from `with` to its end, so many times a second on average, whatever the servers do."""

    port: int
    rate: float
    asked: Iterator[LoadRequest]
    rng: np.random.Generator
    answers: list[LoadResponse] = field(default_factory=list)
    to_send_again: list[dict[str, str]] = field(default_factory=list)  # refused events

    def __post_init__(self) -> None:
        """Nothing is asked yet."""
        self._free: list[Connection] = []
        self._under_way: dict[Connection, tuple[LoadRequest, float]] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask nothing more; what is under way may be answered."""
        self._ending.set()
        self._thread.join()

    def settle(self) -> None:
        """Wait until everything that was due by now has been answered: what is under way may be a failure yet."""
        now = time.perf_counter()
        while any(due <= now for _, due in list(self._under_way.values())):
            if time.perf_counter() > now + MOST_WAIT_S:
                raise InputError("the proxy leaves requests without any answer")
            time.sleep(LOOK_S)

    def send_again(self) -> int:
        """Send what was refused once more, as its sender would; how many there were."""
        waiting, self.to_send_again = self.to_send_again, []
        if waiting:
            with httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=RESENDING_S) as client:
                due = time.perf_counter()
                client.post("/events", json=waiting).raise_for_status()
            seconds = time.perf_counter() - due
            self.answers += [LoadResponse(due, EVENT, 202, seconds, event["event_id"]) for event in waiting]
        return len(waiting)

    def _run(self) -> None:
        with Pool(self.port) as pool:
            due = time.perf_counter()
            while not self._ending.is_set():
                due += self.rng.exponential(1 / self.rate)
                while (early := due - time.perf_counter()) > 0:
                    self._take(pool, early)
                self._ask(pool, next(self.asked), due)
            end = time.perf_counter() + MOST_WAIT_S
            while self._under_way and time.perf_counter() < end:
                self._take(pool, LOOK_S)
        for asked, due in self._under_way.values():
            self._note(asked, due, LOST, time.perf_counter() - due)
        self._under_way.clear()

    def _take(self, pool: Pool, seconds: float) -> None:
        """What has been answered, or is within so many seconds."""
        for connection, answer in pool.answers(seconds):
            asked, due = self._under_way.pop(connection)
            self._note(asked, due, answer.status, answer.seconds)
            if not connection.closed:
                self._free.append(connection)

    def _ask(self, pool: Pool, asked: LoadRequest, due: float) -> None:
        connection = self._connection(pool)
        if connection is None:
            self._note(asked, due, LOST, time.perf_counter() - due)
            return
        self._under_way[connection] = (asked, due)
        pool.ask(connection, asked.request, due)

    def _connection(self, pool: Pool) -> Connection | None:
        """The free one that was used last, for those before it may have been closed meanwhile, or else a new one."""
        while self._free:
            connection = self._free.pop()
            if not connection.closed:
                return connection
        if len(self._under_way) >= MOST_CONNECTIONS:
            return None
        with suppress(OSError):
            return pool.open()
        return None

    def _note(self, asked: LoadRequest, due: float, status: int, seconds: float) -> None:
        answer = LoadResponse(due, asked.kind, status, seconds, asked.event["event_id"] if asked.event else "")
        if asked.event is not None and answer.refused:
            self.to_send_again.append(asked.event)
        self.answers.append(answer)
