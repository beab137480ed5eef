"""The typed Python client of the service; it needs only `pip install 'anchorrec[client]'`."""

from service.client.client import (
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Refused,
    ServiceUnavailable,
    TooCostly,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from service.events.event import GivenEvent

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Forbidden",
    "GivenEvent",
    "InvalidRequest",
    "NotFound",
    "RateLimited",
    "Refused",
    "ServiceUnavailable",
    "TooCostly",
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
]
