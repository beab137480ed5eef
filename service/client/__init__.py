"""The typed Python client; needs `pip install 'anchorrec[client]'` and nothing else of the service."""

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
    "Unauthorized",
    "UnexpectedAnswer",
    "Unreachable",
]
