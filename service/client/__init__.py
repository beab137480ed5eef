"""The typed Python client of the service; it needs only `pip install 'anchorrec[client]'`."""

from service.client.client import (
    AsyncClient,
    CatalogueFull,
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
from service.items.item import GivenItem

__all__ = [
    "AsyncClient",
    "CatalogueFull",
    "Client",
    "ClientError",
    "Conflict",
    "Forbidden",
    "GivenEvent",
    "GivenItem",
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
