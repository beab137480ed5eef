"""What one caller may cost the others, over real sockets."""

import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import Valkey, counted, serving, wait_until


@contextmanager
def stalled(registry: Path, valkey: Valkey, **settings: Any) -> Iterator[httpx.Client]:
    """A service whose Redis answers nothing and whose patience with it is long: a recommendation hangs."""
    patient = {"redis_url": valkey.url, "redis_budget_ms": 60_000, **settings}
    with serving(registry=registry, **patient) as client:
        pid = valkey.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield client
        finally:
            os.kill(pid, signal.SIGCONT)


def test_an_answer_that_takes_too_long_is_given_up_and_the_connection_stays_usable(
    registry: Path, valkey: Valkey
) -> None:
    with stalled(registry, valkey, request_timeout_s=0.1) as client:
        late = client.get("/recommend/user-1")
        assert (late.status_code, late.json()["error"]) == (504, "timeout")
        assert late.json()["detail"] == "no response within 0.1 s"
        assert late.json()["request_id"] == late.headers["x-request-id"]
        assert client.get("/popular").status_code == 200
        assert counted(client, 'reco_errors_total{code="timeout"}') == 1
        assert counted(client, "reco_requests_in_flight") == 1


def let_in(client: httpx.Client, path: str) -> httpx.Response:
    """The answer, asked for until there is a place: a scrape that is being answered takes one for a moment."""
    while (answer := client.get(path)).status_code == 503:
        pass
    return answer


def test_beyond_the_queue_limit_requests_are_refused_at_once_and_probes_are_not(
    registry: Path, valkey: Valkey, capfd: pytest.CaptureFixture[str]
) -> None:
    frozen = valkey.pid()
    with stalled(registry, valkey, max_in_flight=2) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(let_in, client, f"/recommend/user-{i}") for i in range(2)]
        # Several times, as a request that is being refused counts for a moment.
        wait_until(lambda: {counted(client, "reco_requests_in_flight") for _ in range(5)} == {3})
        refused = client.get("/popular")
        assert not any(one.done() for one in waiting)
        assert (refused.status_code, refused.json()["error"]) == (503, "busy")
        assert refused.headers["retry-after"] == "1"
        assert "request failed" not in capfd.readouterr().err  # a line for each would be more work than the answer
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        os.kill(frozen, signal.SIGCONT)
        assert [one.result().status_code for one in waiting] == [200, 200]
        assert client.get("/popular").status_code == 200


@contextmanager
def connection(client: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as raw:
        raw.settimeout(10)
        yield raw


def rest_of(raw: socket.socket) -> tuple[bytes, dict[str, str]]:
    """The status line and the JSON of an answer after which the connection is closed."""
    data = raw.makefile("rb").read()
    return data.partition(b"\r\n")[0], json.loads(data.rpartition(b"\r\n\r\n")[2])


@pytest.fixture(scope="module")
def impatient(registry: Path) -> Iterator[httpx.Client]:
    limits = {"read_timeout_s": 0.2, "head_max_bytes": 2_000, "keep_alive_s": 1}
    with serving(registry=registry, **limits) as client:
        yield client


@pytest.mark.parametrize("begun", [b"GET /popular HT", b"GET /popular HTTP/1.1\r\nhost: x\r\nx-a: "])
def test_a_request_that_does_not_arrive_is_ended(impatient: httpx.Client, begun: bytes) -> None:
    with connection(impatient) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")  # on a connection that was good before
        raw.sendall(begun)
        status, body = rest_of(raw)
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert (body["error"], body["detail"]) == ("slow_request", "the request did not arrive within 0.2 s")


NOTHING = [b"", b"\r\n", b"\n", b"\r\n" * 40]
GOOD = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
DRIBBLED = [
    GOOD[:-2] + b"x-a: " + b"a" * 800,
    b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + b"{" * 800,
    b"POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 100,
    b"POST /none HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + b"{" * 800,
    b"GET /popular HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + b"{" * 800,
]


@pytest.mark.parametrize("before", [b"", GOOD])
def test_a_connection_is_closed_that_sends_no_request_whatever_else_it_sends(
    impatient: httpx.Client, before: bytes
) -> None:
    with ExitStack() as stack:
        sent = {stack.enter_context(connection(impatient)): itertools.repeat(nothing) for nothing in NOTHING}
        for raw in sent:
            raw.sendall(before)
            assert raw.recv(4096).startswith(b"HTTP/1.1 200") if before else True
        wait_until(lambda: not still_open(sent), seconds=5)


def test_a_request_that_dribbles_is_ended_though_bytes_come_all_the_time(impatient: httpx.Client) -> None:
    with ExitStack() as stack:
        pieces = [(bytes([byte]) for byte in request) for request in DRIBBLED]
        sent = {stack.enter_context(connection(impatient)): some for some in pieces}
        wait_until(lambda: not still_open(sent), seconds=5)


def still_open(sent: dict[socket.socket, Iterator[bytes]]) -> bool:
    """Send the next piece on each connection, and leave out those that were closed; whether any is left."""
    for raw in list(sent):
        try:
            raw.sendall(next(sent[raw]))
            raw.setblocking(False)
            closed = raw.recv(4096) == b""
        except BlockingIOError:
            closed = False
        except OSError:
            closed = True
        if closed:
            del sent[raw]
        else:
            raw.settimeout(10)
    return bool(sent)


@pytest.mark.parametrize("begun", [b"", b"\r\n", GOOD[:-2], DRIBBLED[1], DRIBBLED[2]], ids=range(5))
def test_a_connection_whose_client_has_finished_without_a_whole_request_is_closed_at_once(
    impatient: httpx.Client, begun: bytes
) -> None:
    with connection(impatient) as raw:
        raw.sendall(begun)
        raw.shutdown(socket.SHUT_WR)
        assert raw.makefile("rb").read() == b""


def test_a_client_that_has_finished_with_a_whole_request_is_answered(impatient: httpx.Client) -> None:
    with connection(impatient) as raw:
        raw.sendall(GOOD * 3)
        raw.shutdown(socket.SHUT_WR)
        assert raw.makefile("rb").read().count(b"HTTP/1.1 200") == 3


def test_trailers_that_never_end_are_refused_before_they_fill_the_memory(registry: Path) -> None:
    head = b"POST /events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    with serving(registry=registry, head_max_bytes=2_000, body_max_bytes=2_000) as client, connection(client) as raw:
        raw.sendall(head)
        assert raw.recv(4096).startswith(b"HTTP/1.1 100 Continue")
        raw.sendall(b"0\r\nx-endless: " + b"a" * 4_000)
        status, body = rest_of(raw)
    assert status == b"HTTP/1.1 400 Bad Request"
    assert body["detail"] == "the trailers or the chunks' heads are too long"


def test_a_body_that_nobody_reads_and_that_does_not_come_holds_no_connection(impatient: httpx.Client) -> None:
    with connection(impatient) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
        data = raw.makefile("rb").read()
    assert data.startswith(b"HTTP/1.1 200")
    assert data.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize(("name", "value"), [(b"x-long", b"a" * 3_000), (b"x-many", b"b\r\nx-many: b" * 200)])
def test_a_head_beyond_the_limit_is_refused_and_the_limit_named(
    impatient: httpx.Client, name: bytes, value: bytes, pieces: int
) -> None:
    request = b"GET /popular HTTP/1.1\r\nhost: x\r\n" + name + b": " + value + b"\r\n\r\n"
    with connection(impatient) as raw:
        size = len(request) // pieces + 1
        for start in range(0, len(request), size):
            raw.sendall(request[start : start + size])
            time.sleep(0.01)
        status, body = rest_of(raw)
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert body["error"] == "head_too_large"
    assert body["detail"].endswith("the limit is 2000")


def test_a_head_that_never_ends_is_refused_before_it_fills_the_memory(impatient: httpx.Client) -> None:
    with connection(impatient) as raw:
        raw.sendall(b"GET /popular HTTP/1.1\r\nhost: x\r\nx-endless: ")
        sent = 0
        try:
            while sent < 10_000_000:
                sent += raw.send(b"a" * 1_000)
                time.sleep(0.0005)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 1_000_000


def test_many_small_requests_in_one_piece_are_no_long_head(impatient: httpx.Client) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with connection(impatient) as raw:
        raw.sendall(one * 200 + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert raw.makefile("rb").read().count(b"HTTP/1.1 200") == 201


def test_a_client_that_takes_no_answers_is_cut_off(registry: Path) -> None:
    with serving(registry=registry, read_timeout_s=0.3) as client, connection(client) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 - any of the sends may find out
            for _ in range(2_000):
                raw.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
                time.sleep(0.005)
        assert client.get("/healthz").status_code == 200
