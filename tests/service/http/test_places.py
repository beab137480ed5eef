"""Which requests take a place in flight, over real sockets."""

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from servers import Valkey, counted, serving, wait_until

PLACES = 3
HEAD = b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n"
BODY = b'{"user_id": "nobody"'
HANGING = b"GET /recommend/user-%d HTTP/1.1\r\nhost: x\r\n\r\n"
IN_FLIGHT = "reco_requests_in_flight"


def opened(client: httpx.Client, stack: ExitStack, sent: bytes = b"") -> socket.socket:
    raw = socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20)
    stack.enter_context(raw).sendall(sent)
    return raw


def answer(raw: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next response."""
    lines = raw.makefile("rb")
    status = int(lines.readline().split()[1])
    while (line := lines.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    return status, lines.read(length)


@pytest.fixture(scope="module")
def small(registry: Path) -> Iterator[httpx.Client]:
    with serving(registry=registry, max_in_flight=PLACES, read_timeout_s=30, body_max_bytes=1_000) as client:
        yield client


EXPECTING = HEAD.replace(b"20", b"20\r\nexpect: 100-continue")


@pytest.mark.parametrize("sent", [HEAD, HEAD + BODY[:-1], HEAD[:-2], EXPECTING], ids=range(4))
def test_requests_that_have_not_wholly_arrived_take_no_place(small: httpx.Client, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(3 * PLACES):
            opened(small, stack, sent)
        for _ in range(5):
            assert small.get("/popular").status_code == 200
            assert counted(small, IN_FLIGHT) == 1


def test_a_request_is_answered_when_the_last_byte_of_its_body_arrives(small: httpx.Client) -> None:
    with ExitStack() as stack:
        raw = opened(small, stack, HEAD + BODY[:-1])
        time.sleep(0.05)
        raw.sendall(b"}")
        assert answer(raw)[0] == 422  # the closing quotation mark is gone, and the service has seen it
        wait_until(lambda: counted(small, IN_FLIGHT) == 1)


def test_bodies_that_arrive_may_together_hold_as_much_memory_as_requests_in_flight(small: httpx.Client) -> None:
    large = HEAD.replace(b"20", b"1000")
    with ExitStack() as stack:
        raws = [opened(small, stack, large) for _ in range(PLACES + 1)]
        for raw in raws[:-1]:
            raw.sendall(b"a" * 900)
        time.sleep(0.1)
        raws[-1].sendall(b"a" * 900)
        status, body = answer(raws[-1])
        assert (status, json.loads(body)["detail"]) == (503, "too many request bodies are arriving")
    with ExitStack() as stack:  # nothing of them is counted any more
        wait_until(lambda: counted(small, "reco_connections") == 1)
        raws = [opened(small, stack, large + b"a" * 900) for _ in range(PLACES)]
        time.sleep(0.1)
        raws[0].sendall(b"a" * 100)
        assert answer(raws[0])[0] == 422


def test_responses_that_their_callers_do_not_read_keep_no_place(small: httpx.Client) -> None:
    answered = 'reco_requests_total{method="GET",route="other",status="200"}'
    with ExitStack() as stack:
        for _ in range(PLACES):
            raw = stack.enter_context(socket.socket())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            raw.connect((small.base_url.host, small.base_url.port))
            before = counted(small, answered)
            raw.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
            wait_until(lambda before=before: counted(small, answered) > before)
            time.sleep(0.3)
            assert counted(small, answered) < before + 100  # the rest waits for the caller
        assert [small.get("/popular").status_code for _ in range(5)] == [200] * 5


@pytest.fixture
def frozen(registry: Path, valkey: Valkey) -> Iterator[tuple[httpx.Client, int]]:
    """A service with PLACES whose recommendations hang, and the process that they wait for."""
    patient = {"redis_url": valkey.url, "redis_budget_ms": 60_000, "read_timeout_s": 0.3, "request_timeout_s": 2}
    with serving(registry=registry, max_in_flight=PLACES, **patient) as client:
        pid = valkey.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield client, pid
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_body_that_is_announced_and_not_needed_saves_no_request_from_taking_a_place(
    frozen: tuple[httpx.Client, int],
) -> None:
    client, _ = frozen
    with ExitStack() as stack:
        for i in range(PLACES):
            opened(client, stack, (HANGING % i).replace(b"host", b"content-length: 9\r\nhost"))
        wait_until(lambda: counted(client, IN_FLIGHT) == PLACES + 1)
        assert client.get("/popular").status_code == 503


def test_a_whole_body_that_arrives_when_all_places_are_taken_is_refused(frozen: tuple[httpx.Client, int]) -> None:
    client, _ = frozen
    with ExitStack() as stack:
        late = opened(client, stack, HEAD + BODY[:-1])
        for i in range(PLACES):
            opened(client, stack, HANGING % i)
        wait_until(lambda: counted(client, IN_FLIGHT) == PLACES + 1)
        late.sendall(b"}")
        status, body = answer(late)
        assert (status, json.loads(body)["detail"]) == (503, "too many requests are in flight; retry shortly")


def test_a_request_whose_client_has_gone_is_ended_in_time_and_leaves_its_place(
    frozen: tuple[httpx.Client, int],
) -> None:
    client, _ = frozen
    with ExitStack() as stack:
        raw = opened(client, stack, HANGING % 1)
        wait_until(lambda: counted(client, IN_FLIGHT) == 2)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: counted(client, IN_FLIGHT) == 1, seconds=10)


def test_a_part_of_the_next_request_does_not_end_the_one_that_is_being_answered(
    frozen: tuple[httpx.Client, int],
) -> None:
    client, pid = frozen
    with ExitStack() as stack:
        raw = opened(client, stack, HANGING % 1 + b"GET /popular HT")
        time.sleep(1.2)  # above the timeout for a request to arrive
        os.kill(pid, signal.SIGCONT)
        assert answer(raw)[0] == 200


def test_requests_sent_together_have_each_their_own_timeout(frozen: tuple[httpx.Client, int]) -> None:
    client, _ = frozen
    with ExitStack() as stack:
        raw = opened(client, stack, HANGING % 1 + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = raw.makefile("rb").read()
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"504", b"200"]
    assert b'"error":"timeout"' in answers


def test_what_cannot_be_parsed_does_not_take_the_place_of_the_answer_before_it(
    frozen: tuple[httpx.Client, int],
) -> None:
    client, pid = frozen
    with ExitStack() as stack:
        raw = opened(client, stack, HANGING % 1)
        wait_until(lambda: counted(client, IN_FLIGHT) == 2)
        raw.sendall(b"\x00\x01 nonsense\r\n\r\n")
        time.sleep(0.1)
        os.kill(pid, signal.SIGCONT)
        answers = raw.makefile("rb").read()
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 ") == 1
