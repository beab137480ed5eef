"""What every endpoint of the client is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

T = TypeVar("T")
SCHEMA = "schema"
SWAP_TIMEOUT_S = 900.0  # for the gate, and for opening and warming up a bundle


@dataclass(frozen=True)
class ClientRequest(Generic[T]):
    """A request, and the type that its response is parsed into."""

    method: str
    path: str
    response: type[T]  # a model, str for plain text, or bytes
    query: Mapping[str, Any]
    body: Any = None
    idempotent: bool = True  # only then may the client retry it
    timeout_s: float = 0.0  # where it may take longer than the client's own timeout

    def parse(self, content: bytes) -> T:
        """The typed response; pydantic's ValidationError where the content does not fit the type."""
        if issubclass(self.response, BaseModel):
            return self.response.model_validate_json(content)
        if issubclass(self.response, bytes):
            return self.response(content)
        return self.response(content.decode())  # type: ignore[call-arg]  # str is the only other type


def path_of(prefix: str, resource_id: str, suffix: str = "") -> str:
    """A path with the id percent-encoded, dots too: an HTTP client would resolve `..`."""
    encoded = quote(resource_id, safe="").replace(".", "%2E")
    if (prefix, encoded) == ("items", SCHEMA):  # the path of another route
        encoded = f"%{ord(SCHEMA[0]):X}{SCHEMA[1:]}"
    return f"/{prefix}/{encoded}{suffix}"


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are given."""
    return {name: value for name, value in fields.items() if value is not None}
