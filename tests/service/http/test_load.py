"""How many connections there may be, and who is answered beyond that."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import counted, serving, wait_until

from deploy.processes import free_port
from service.http.load import SPARE_CONNECTIONS, Connection, ConnectionLimits, Load

LIMIT = 3


class Socket(Connection):
    """A connection that does nothing."""

    is_spare = False
    is_answering = False  # type: ignore[assignment]

    def __init__(self, port: int = 8000) -> None:
        self.port = port
        self.checked = 0
        self.aborted = False

    def enforce_timeouts(self, now: float) -> None:
        self.checked += 1

    def abort(self) -> None:
        self.aborted = True


class Failing(Socket):
    def enforce_timeouts(self, now: float) -> None:
        raise AttributeError("of another class")


def made_load() -> Load:
    limits: Any = dict.fromkeys(ConnectionLimits.__dataclass_fields__, 1)
    return Load(ConnectionLimits(**(limits | {"max_connections": LIMIT})))


def opened(load: Load, connection: Socket) -> Socket:
    load.open(connection)
    return connection


def test_a_connection_that_fails_is_aborted_and_the_others_are_looked_after() -> None:
    load = made_load()
    one, failing, other = (opened(load, connection) for connection in (Socket(), Failing(), Socket()))
    load.enforce_timeouts(0)
    assert (one.checked, failing.aborted, other.checked) == (1, True, 1)


def test_connections_beyond_the_limit_are_spare_and_each_port_has_a_limit_of_its_own() -> None:
    load = made_load()
    first = [opened(load, Socket()) for _ in range(LIMIT)]
    assert not any(connection.is_spare for connection in first)
    assert opened(load, Socket()).is_spare
    assert not opened(load, Socket(port=8001)).is_spare
    load.close(first[0])
    assert not opened(load, Socket()).is_spare


def test_of_too_many_spare_connections_the_oldest_that_does_nothing_is_ended() -> None:
    load = made_load()
    for _ in range(LIMIT):
        opened(load, Socket())
    spare = [opened(load, Socket()) for _ in range(SPARE_CONNECTIONS)]
    spare[0].is_answering = True  # type: ignore[misc]
    for _ in range(2):
        opened(load, Socket())
    assert [connection.aborted for connection in spare[:4]] == [False, True, True, False]


@contextmanager
def held_open(client: httpx.Client, number: int) -> Iterator[None]:
    """So many connections on which nothing is sent."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection((client.base_url.host, client.base_url.port or 0)))
        yield


def test_beyond_the_limit_only_probes_are_answered_however_many_connections_are_held(registry: Path) -> None:
    with serving(registry=registry, max_connections=LIMIT) as client:
        assert counted(client, 'reco_limit{of="connections"}') == LIMIT
        with held_open(client, LIMIT + 2 * SPARE_CONNECTIONS):
            for path, status in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/popular", 503)]:
                response = httpx.get(f"{client.base_url}{path}")
                assert (response.status_code, response.headers["connection"]) == (status, "close")
            refused = response.json()
            assert (refused["error"], refused["detail"]) == ("busy", "too many connections are open; retry shortly")
            assert response.headers["retry-after"] == "1"
            assert client.get("/popular").status_code == 200  # a connection from before
        wait_until(lambda: counted(client, "reco_connections") == 1)
        assert httpx.get(f"{client.base_url}/popular").status_code == 200


def test_a_connection_beyond_the_limit_on_which_nothing_comes_is_soon_closed(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.connection.SPARE_LIFETIME_S", 0.1)
    with serving(registry=registry, max_connections=1) as client:
        assert counted(client, "reco_connections") == 1
        with held_open(client, 1):
            wait_until(lambda: counted(client, "reco_connections") == 2)
            wait_until(lambda: counted(client, "reco_connections") == 1)


def test_the_admin_port_answers_while_the_public_one_is_full(registry: Path) -> None:
    port, admin_port = free_port(), free_port()
    ports = {"port": port, "admin_port": admin_port}
    with serving(registry=registry, max_connections=LIMIT, **ports) as client, held_open(client, LIMIT):
        assert httpx.get(f"http://127.0.0.1:{admin_port}/popular").status_code == 200
