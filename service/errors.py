"""The errors of the service, and the one JSON shape in which every error is sent."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from index.validation import without_consequences

MAX_PROBLEMS = 5  # named in one error; a body may be wrong in thousands of places
# Keys of the ASGI scope.
REQUEST_ID = "request_id"
OVERLOADED = "overloaded"  # says why this request is one too many: its work is not begun
ARRIVING = "arriving"  # while a body is arriving: called to take a place in flight without waiting for it
TIMED_OUT = "timed_out"  # holds the error to respond with after the request was cancelled
SPEND = "spend"  # takes more tokens of the caller; RateLimitedError where it has too few
NO_TIMEOUT = "no_timeout"  # set where the request may take any time


class ServiceError(Exception):
    """A request that fails; sent as `{"error": code, "detail": text, "request_id": id}`."""

    status = 500
    code = "internal"
    more: Mapping[str, Any] = {}  # further fields of the JSON

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers


class InvalidRequestError(ServiceError):
    """A parameter, an id or a body is invalid; the detail names it."""

    status = 422
    code = "invalid_request"


class UnknownItemError(ServiceError):
    """The bundle has no item of this id."""

    status = 404
    code = "unknown_item"


class UnknownImageError(ServiceError):
    """There is no such picture."""

    status = 404
    code = "unknown_image"


class NoMapError(ServiceError):
    """The bundle has no map of its items."""

    status = 404
    code = "no_map"


class UnknownUserError(ServiceError):
    """The user is unknown, and the operator chose this error over popular items."""

    status = 404
    code = "unknown_user"


class UnauthorizedError(ServiceError):
    """The request has no valid API key."""

    status = 401
    code = "unauthorized"

    def __init__(self, detail: str, *, challenge: str = 'Bearer realm="anchorrec"') -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class ForbiddenError(ServiceError):
    """The caller's role does not allow this."""

    status = 403
    code = "forbidden"


class CrossSiteError(ServiceError):
    """A page of another site sent this to a service without API keys."""

    status = 403
    code = "cross_site"


class RateLimitedError(ServiceError):
    """The caller exceeds its rate limit."""

    status = 429
    code = "rate_limited"


class ShedError(ServiceError):
    """Too many requests are in flight; this one is not started."""

    status = 503
    code = "busy"


class IndexUnavailableError(ServiceError):
    """Milvus does not respond, and the settings allow no other index to answer."""

    status = 503
    code = "index_unavailable"


class StartingError(ServiceError):
    """Not all worker processes are ready yet, or one has been down for long."""

    status = 503
    code = "starting"


class DrainingError(ServiceError):
    """The process is shutting down and should get no new requests."""

    status = 503
    code = "draining"


class ResponseTimeoutError(ServiceError):
    """The response took longer than RECO_REQUEST_TIMEOUT_S."""

    status = 504
    code = "timeout"


class SlowClientError(ServiceError):
    """The request took longer to arrive than RECO_READ_TIMEOUT_S."""

    status = 408
    code = "slow_request"


class MethodNotAllowedError(ServiceError):
    """The path exists, but not with this method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this route answers {', '.join(allowed)}", headers={"Allow": ", ".join(allowed)})


class NoRouteError(ServiceError):
    """The path would be that of a route if an id could have several segments, and no such id is known."""

    status = 404
    code = "not_found"

    def __init__(self, id_name: str) -> None:
        super().__init__(f"no such route: {id_name} is one segment of the path; write a slash in it as %2F")


class BodyTooLargeError(ServiceError):
    """The body is longer than RECO_BODY_MAX_BYTES."""

    status = 413
    code = "body_too_large"


class UnsupportedEncodingError(ServiceError):
    """The body has a Content-Encoding that the service does not read."""

    status = 415
    code = "unsupported_encoding"


class TooCostlyError(ServiceError):
    """The request would cost more than RECO_REQUEST_COST_MAX."""

    status = 422
    code = "too_costly"


HTTP_CODES: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "no such route"),
    405: ("method_not_allowed", "this route does not answer this method"),
}


def describe(error: Exception) -> tuple[int, str, str]:
    """Status, code and text of an error. An unexpected error is a 500 without details."""
    if isinstance(error, ServiceError):
        return error.status, error.code, error.detail
    if isinstance(error, RequestValidationError):
        return InvalidRequestError.status, InvalidRequestError.code, sentence(error.errors())
    if isinstance(error, HTTPException):
        code, detail = HTTP_CODES.get(error.status_code, ("http_error", str(error.detail)))
        return error.status_code, code, detail
    return ServiceError.status, ServiceError.code, "the service failed; its log has the details under this request id"


def error_body(code: str, detail: str, request_id: str, more: Mapping[str, Any] | None = None) -> bytes:
    """The JSON of an error."""
    return orjson.dumps({"error": code, "detail": detail, "request_id": request_id, **(more or {})})


def sentence(errors: Sequence[Any]) -> str:
    """Pydantic's errors as one line: what was found and what was expected."""
    errors = without_consequences(errors)
    problems = "; ".join(_problem(error) for error in errors[:MAX_PROBLEMS])
    return problems if len(errors) <= MAX_PROBLEMS else f"{problems}; and {len(errors) - MAX_PROBLEMS} more"


def _problem(error: Mapping[str, Any]) -> str:
    if error["type"] == "value_error" and not error["loc"]:  # ours, about several fields: it says what was found
        return str(error["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part)[:80] for part in error["loc"]) or "request"  # a caller's key may be long
    found = "" if error["type"] == "missing" else f", found {_excerpt(error['input'])!r}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}{found}"


def _excerpt(value: Any) -> str:
    """The beginning of a value as text; lists and objects are cut before they are written, as they may be long."""
    if isinstance(value, dict):
        value = dict(islice(value.items(), 8))
    elif isinstance(value, str | list | tuple):
        value = value[:80]
    return str(value)[:80]


def request_id_of(scope: Scope) -> str:
    """The id that the middleware gave the request."""
    return str(scope.get(REQUEST_ID, ""))


def overload(scope: Scope) -> ShedError:
    """The error of a request that is one too many."""
    return ShedError(f"{scope[OVERLOADED]}; retry shortly", headers={"Retry-After": "1"})
