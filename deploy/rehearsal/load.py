"""Steady open arrivals through the proxy, from a thread of its own: what was asked, when, and what came of it."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import httpx
import numpy as np
import orjson

from deploy.rehearsal.shop import ITEMS, USERS, item_id, liked_item, user_id
from deploy.stack import HOST
from index.errors import InputError
from loadtests.client import OK, Connection, connect
from loadtests.visits import EVENT, SHARES, SIMILAR
from loadtests.workloads import raw, zipf_rows

READ = "read"
UNAVAILABLE = 503
CYCLE = 5_000  # users drawn beforehand
MOST_WAIT_S = 40.0  # for the last answers: the proxy tries an event three times ten seconds
MOST_CONNECTIONS = 1_000
RESENDING_S = 30.0


class Asked(NamedTuple):
    """One request."""

    kind: str
    request: bytes
    event: dict[str, str] | None = None


class Answer(NamedTuple):
    """What came of one request. Times are of time.perf_counter."""

    due: float  # when it was to be asked
    kind: str
    status: int  # 0: the connection broke, or nothing came
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


def requests(run: str, rng: np.random.Generator) -> Iterator[Asked]:
    """What a shop asks: some users far oftener than others, each liking things of their topic."""
    users, items = zipf_rows(USERS, CYCLE, rng).tolist(), zipf_rows(ITEMS, CYCLE, rng).tolist()
    for number in itertools.count():
        user, item = users[number % CYCLE], items[number % CYCLE]
        kind = rng.choice(list(SHARES), p=list(SHARES.values()))
        if kind == EVENT:
            liked = item_id(liked_item(user, rng))
            event = {"event_id": f"{run}-{number}", "user_id": user_id(user), "item_id": liked, "kind": "click"}
            yield Asked(EVENT, raw("/events", body=orjson.dumps(event)), event)
        else:
            path = f"/similar/{item_id(item)}" if kind == SIMILAR else f"/recommend/{user_id(user)}?k=10"
            yield Asked(READ, raw(path))


@dataclass
class Load:
    """Asks from `with` to its end, so many times a second on average, whatever the servers do."""

    port: int
    rate: float
    asked: Iterator[Asked]
    rng: np.random.Generator
    answers: list[Answer] = field(default_factory=list)
    to_send_again: list[dict[str, str]] = field(default_factory=list)  # refused events

    def __post_init__(self) -> None:
        """Nothing is asked yet."""
        self._free: list[Connection] = []
        self._under_way: dict[Connection, tuple[Asked, float]] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

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
            time.sleep(0.05)

    def send_again(self) -> int:
        """Send what was refused once more, as its sender would; how many there were."""
        waiting, self.to_send_again = self.to_send_again, []
        if waiting:
            with httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=RESENDING_S) as client:
                due = time.perf_counter()
                client.post("/events", json=waiting).raise_for_status()
            seconds = time.perf_counter() - due
            self.answers += [Answer(due, EVENT, 202, seconds, event["event_id"]) for event in waiting]
        return len(waiting)

    async def _run(self) -> None:
        due = time.perf_counter()
        while not self._ending.is_set():
            due += self.rng.exponential(1 / self.rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._ask(next(self.asked), due)
        end = time.perf_counter() + MOST_WAIT_S
        while (self._under_way or self._opening) and time.perf_counter() < end:
            await asyncio.sleep(0.05)
        for connection in [*self._under_way, *self._free]:
            connection.close()
        await asyncio.sleep(0)  # what they close is told in the next turn of the loop

    def _ask(self, asked: Asked, due: float) -> None:
        while self._free:
            connection = self._free.pop()  # the last one used: those below may have been closed meanwhile
            if not connection.closed.done():
                self._send(connection, asked, due)
                return
        task = asyncio.ensure_future(self._open_and_send(asked, due))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_and_send(self, asked: Asked, due: float) -> None:
        if len(self._under_way) >= MOST_CONNECTIONS:
            self._note(asked, due, 0, time.perf_counter() - due)
            return
        try:
            (connection,) = await connect(self.port, 1, self._answered)
        except OSError:
            self._note(asked, due, 0, time.perf_counter() - due)
            return
        self._send(connection, asked, due)

    def _send(self, connection: Connection, asked: Asked, due: float) -> None:
        self._under_way[connection] = (asked, due)
        connection.ask(asked.request, due)

    def _answered(self, connection: Connection, status: int, seconds: float) -> None:
        asked, due = self._under_way.pop(connection)
        self._note(asked, due, status, seconds)
        if not connection.closed.done():
            self._free.append(connection)

    def _note(self, asked: Asked, due: float, status: int, seconds: float) -> None:
        answer = Answer(due, asked.kind, status, seconds, asked.event["event_id"] if asked.event else "")
        if asked.event is not None and answer.refused:
            self.to_send_again.append(asked.event)
        self.answers.append(answer)
