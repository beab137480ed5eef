"""One base for everything the service refuses, one shape for every refusal."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

MOST_FINDINGS = 5  # named in one refusal; a body may be wrong in thousands of places
REQUEST_ID = "request_id"  # where the middleware leaves the id in the ASGI scope
OVERLOADED = "overloaded"  # in the scope of a request that came when too many were waiting
LATE = "late"  # in the scope of a request that was ended, the error to answer with
PATIENT = "patient"  # in the scope of a request that may take any time


class ServiceError(Exception):
    """A request that cannot be answered; becomes `{"error": code, "detail": text, "request_id": id}`."""

    status = 500
    code = "internal"
    more: Mapping[str, Any] = {}  # what goes beside the three

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers


class InvalidRequestError(ServiceError):
    """A parameter or an id breaks a limit; the detail names it."""

    status = 422
    code = "invalid_request"


class UnknownItemError(ServiceError):
    """The bundle holds no such item."""

    status = 404
    code = "unknown_item"


class UnknownUserError(ServiceError):
    """Nothing is known of the user, and the operator wants that said instead of popular items."""

    status = 404
    code = "unknown_user"


class UnauthorizedError(ServiceError):
    """The caller shows no API key, or one that is not taken."""

    status = 401
    code = "unauthorized"

    def __init__(self, detail: str, *, challenge: str = 'Bearer realm="anchorrec"') -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class ForbiddenError(ServiceError):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class RateLimitedError(ServiceError):
    """The caller asks more often than it may."""

    status = 429
    code = "rate_limited"


class ShedError(ServiceError):
    """More requests wait than can be answered in good time; this one is not begun."""

    status = 503
    code = "busy"


class DrainingError(ServiceError):
    """The process is about to end and wants no new requests."""

    status = 503
    code = "draining"


class LateError(ServiceError):
    """The answer took longer than the operator allows."""

    status = 504
    code = "timeout"


class SlowClientError(ServiceError):
    """The request took too long to arrive."""

    status = 408
    code = "slow_request"


class MethodNotAllowedError(ServiceError):
    """The path is one of ours, the method is none that it answers."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this route answers {', '.join(allowed)}", headers={"Allow": ", ".join(allowed)})


class BodyTooLargeError(ServiceError):
    """The body is longer than the operator allows."""

    status = 413
    code = "body_too_large"


HTTP_CODES: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "no such route"),
    405: ("method_not_allowed", "this route does not answer this method"),
}


def describe(error: Exception) -> tuple[int, str, str]:
    """Status, code and text of an error. What nobody foresaw is a 500 that tells the caller nothing more."""
    if isinstance(error, ServiceError):
        return error.status, error.code, error.detail
    if isinstance(error, RequestValidationError):
        return InvalidRequestError.status, InvalidRequestError.code, sentence(error.errors())
    if isinstance(error, HTTPException):
        code, detail = HTTP_CODES.get(error.status_code, ("http_error", str(error.detail)))
        return error.status_code, code, detail
    return ServiceError.status, ServiceError.code, "the service failed; its log has this request id"


def error_body(code: str, detail: str, request_id: str, more: Mapping[str, Any] | None = None) -> bytes:
    """The one shape of an error."""
    return orjson.dumps({"error": code, "detail": detail, "request_id": request_id, **(more or {})})


def sentence(errors: Sequence[Any]) -> str:
    """Pydantic's findings as one line: what was found and what was expected."""
    told = "; ".join(_finding(error) for error in errors[:MOST_FINDINGS])
    return told if len(errors) <= MOST_FINDINGS else f"{told}; and {len(errors) - MOST_FINDINGS} more"


def _finding(error: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in error["loc"]) or "request"
    found = "" if error["type"] == "missing" else f", found {str(error['input'])[:80]!r}"
    said = error["msg"].removeprefix("Value error, ")
    return f"{name}: {said[:1].lower()}{said[1:]}{found}"


def request_id_of(scope: Scope) -> str:
    """The id of the request that this scope belongs to."""
    return str(scope.get(REQUEST_ID, ""))
