"""Steady open arrivals through the proxy, sent by a thread of their own, and the responses."""

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
CYCLE = 5_000  # users drawn in advance
LAST_RESPONSES_S = 40.0  # the proxy tries an event three times, ten seconds each
MOST_CONNECTIONS = 1_000
RESEND_TIMEOUT_S = 30.0
POLL_S = 0.05


class LoadRequest(NamedTuple):
    """One request; `event` is the body of an event."""

    kind: str
    request: bytes
    event: dict[str, str] | None = None


class LoadResponse(NamedTuple):
    """The response to one request. Times are of time.perf_counter."""

    due: float  # when the request was scheduled
    kind: str
    status: int  # LOST: the connection broke, or no response arrived
    seconds: float  # since it was due
    event_id: str

    @property
    def good(self) -> bool:
        """Whether the request succeeded."""
        return self.status in OK

    @property
    def refused(self) -> bool:
        """Whether this is an event that the service refused with 503, so that the sender must send it again."""
        return self.kind == EVENT and self.status == UNAVAILABLE


def requests(run: str, rng: np.random.Generator) -> Iterator[LoadRequest]:
    """Yield the requests of a shop: some users are far more frequent, and each likes items of one topic."""
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
    """Sends `rate` requests per second on average inside its `with` block, whatever the servers do."""

    port: int
    rate: float
    requests: Iterator[LoadRequest]
    rng: np.random.Generator
    responses: list[LoadResponse] = field(default_factory=list)
    refused_events: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._free: list[Connection] = []
        self._outstanding: dict[Connection, tuple[LoadRequest, float]] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def wait_for_responses(self) -> None:
        """Wait until every request that is due by now has a response: an outstanding one may still fail."""
        now = time.perf_counter()
        while any(due <= now for _, due in list(self._outstanding.values())):
            if time.perf_counter() > now + LAST_RESPONSES_S:
                raise InputError("the proxy leaves requests without any response")
            time.sleep(POLL_S)

    def resend_refused(self) -> int:
        """Send the refused events again, as their sender would; return how many there were."""
        waiting, self.refused_events = self.refused_events, []
        if waiting:
            with httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=RESEND_TIMEOUT_S) as client:
                due = time.perf_counter()
                client.post("/events", json=waiting).raise_for_status()
            seconds = time.perf_counter() - due
            self.responses += [LoadResponse(due, EVENT, 202, seconds, event["event_id"]) for event in waiting]
        return len(waiting)

    def _run(self) -> None:
        with Pool(self.port) as pool:
            due = time.perf_counter()
            while not self._ending.is_set():
                due += self.rng.exponential(1 / self.rate)
                while (early := due - time.perf_counter()) > 0:
                    self._receive(pool, early)
                self._send(pool, next(self.requests), due)
            end = time.perf_counter() + LAST_RESPONSES_S
            while self._outstanding and time.perf_counter() < end:
                self._receive(pool, POLL_S)
        for request, due in self._outstanding.values():
            self._record(request, due, LOST, time.perf_counter() - due)
        self._outstanding.clear()

    def _receive(self, pool: Pool, seconds: float) -> None:
        """Record the responses that have arrived, or that arrive within so many seconds."""
        for connection, response in pool.responses(seconds):
            request, due = self._outstanding.pop(connection)
            self._record(request, due, response.status, response.seconds)
            if not connection.closed:
                self._free.append(connection)

    def _send(self, pool: Pool, request: LoadRequest, due: float) -> None:
        connection = self._connection(pool)
        if connection is None:
            self._record(request, due, LOST, time.perf_counter() - due)
            return
        self._outstanding[connection] = (request, due)
        pool.send(connection, request.request, due)

    def _connection(self, pool: Pool) -> Connection | None:
        """Return the free connection that was used last, as older ones may have been closed, or open a new one."""
        while self._free:
            connection = self._free.pop()
            if not connection.closed:
                return connection
        if len(self._outstanding) >= MOST_CONNECTIONS:
            return None
        with suppress(OSError):
            return pool.open()
        return None

    def _record(self, request: LoadRequest, due: float, status: int, seconds: float) -> None:
        event_id = request.event["event_id"] if request.event else ""
        response = LoadResponse(due, request.kind, status, seconds, event_id)
        if request.event is not None and response.refused:
            self.refused_events.append(request.event)
        self.responses.append(response)
