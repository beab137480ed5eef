"""What all connections together hold: sockets, requests in flight, and bytes of bodies that are still arriving."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from service.http.receiving import ParsingTurns
from service.telemetry.metrics import Metrics

SPARE_CONNECTIONS = 32  # beyond the limit, for health probes
SPARE_LIFETIME_S = 2.0

log = structlog.get_logger()


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of each connection, and of all together."""

    max_connections: int  # open ones of each port
    max_in_flight: int  # whole requests of all connections together
    max_body_bytes: int  # of all bodies that are still arriving
    head_max_bytes: int  # request line and headers
    body_max_bytes: int
    read_timeout_s: float  # for a request to arrive, or a response to be read by the client
    request_timeout_s: float  # for a response to be complete
    idle_s: float  # for a request to begin


class Connection(Protocol):
    """A connection as the load sees it."""

    port: int  # ours
    is_spare: bool

    @property
    def is_answering(self) -> bool: ...

    def enforce_timeouts(self, now: float) -> None: ...

    def abort(self) -> None: ...


class Load:
    """Counts what connections hold, decides which are beyond the limit, and enforces the timeouts of all.

    A connection beyond the limit is a spare one: it lives shortly and answers one health probe, and a newer one takes
    its place. So probes get through however many connections are held open.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.in_flight: set[Any] = set()  # tasks of whole requests
        self.parsing = ParsingTurns()
        self.body_bytes = 0
        self._watched: set[Connection] = set()  # open, or closed while a request still runs
        self._regular: Counter[int] = Counter()  # by port
        self._spare: dict[Connection, None] = {}  # oldest first

    def show(self, metrics: Metrics) -> None:
        """Publish the counts and the limits."""
        metrics.in_flight.set_function(lambda: len(self.in_flight))
        metrics.connections.set_function(lambda: self._regular.total() + len(self._spare))
        metrics.limits.labels("connections").set(self.limits.max_connections)

    def open(self, connection: Connection) -> None:
        """Count a new connection, and make it a spare one where it is beyond the limit."""
        self._watched.add(connection)
        connection.is_spare = self._regular[connection.port] >= self.limits.max_connections
        if not connection.is_spare:
            self._regular[connection.port] += 1
            return
        self._spare[connection] = None
        if len(self._spare) > SPARE_CONNECTIONS:
            oldest = next(spare for spare in self._spare if not spare.is_answering)
            del self._spare[oldest]
            oldest.abort()

    def close(self, connection: Connection) -> None:
        """Count a connection as closed; its request, if one runs, is watched until `forget`."""
        if connection.is_spare:
            self._spare.pop(connection, None)
        else:
            self._regular[connection.port] -= 1

    def forget(self, connection: Connection) -> None:
        """Watch a connection no longer: it is closed and no request of it runs."""
        self._watched.discard(connection)

    def enforce_timeouts(self, now: float) -> None:
        """Enforce the timeouts of every connection; one that fails is aborted, and the others are not affected."""
        for connection in list(self._watched):
            try:
                connection.enforce_timeouts(now)
            except Exception as error:  # the edge between the server and one of its connections
                log.error("connection aborted", exc_info=error)
                connection.abort()
