"""The typed clients of the service: `Client` is synchronous, `AsyncClient` asynchronous.

    with Client("http://localhost:8000", api_key=key) as client:
        response = client.recommend("u42", k=5, explain=True)
        client.send_events(GivenEvent(user_id="u42", item_id=response.items[0].item_id, kind="click"))

Idempotent requests are retried after 429, 502, 503, 504 or a broken connection, with exponential backoff or after the
service's Retry-After. The others are sent once.
"""

import json
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import httpx
from pydantic import ValidationError
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from index.validation import explained
from service.client import endpoints, experiment_endpoints
from service.client.request import ClientRequest

T = TypeVar("T")
P = ParamSpec("P")

FIRST_BACKOFF_S = 0.1  # at most: backoff is random
MAX_BACKOFF_S = 2.0  # Retry-After may be longer
MAX_RETRY_AFTER_S = 10.0  # with a longer Retry-After the error goes to the caller
MAX_ANSWER_BYTES = 256 << 20  # far above any response within the service's default limits
MAX_REFUSAL_BYTES = 256 << 10
TRANSIENT = frozenset({429, 502, 503, 504})


class ClientError(Exception):
    """The request failed."""


class Unreachable(ClientError):  # noqa: N818 - these names say what happened
    """No response: the connection failed, broke or timed out."""


class UnexpectedAnswer(ClientError):  # noqa: N818
    """The response has an unknown shape: it is of another service or of another version."""


class Refused(ClientError):  # noqa: N818
    """The service responded with an error: its `code`, `detail`, and the `request_id` to find in its log."""

    def __init__(self, status: int, code: str, detail: str, request_id: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {code}: {detail} (request {request_id})")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id
        self.retry_after = retry_after  # seconds, where the response has the header


class InvalidRequest(Refused):
    """A parameter, an id or the body is invalid."""


class TooCostly(InvalidRequest):
    """The request costs more than the service allows: ask for fewer users, fewer items or less about them."""


class Unauthorized(Refused):
    """The API key is missing or invalid."""


class Forbidden(Refused):
    """The key's role does not allow the request."""


class NotFound(Refused):
    """The item, bundle, job or route does not exist."""


class Conflict(Refused):
    """The current state forbids it: the gate refuses the bundle, or a retraining runs already or is not configured."""


class RateLimited(Refused):
    """The key's rate limit is exceeded; retry after `retry_after` seconds."""


class CatalogueFull(Refused):
    """More items would be stored than the service holds beside those of training: retrain, or delete some."""


class ServiceUnavailable(Refused):
    """The service is overloaded, shutting down, or lacks something that it needs, such as its event log."""


ERROR_BY_STATUS: dict[int, type[Refused]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    414: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    502: ServiceUnavailable,
    503: ServiceUnavailable,
    504: ServiceUnavailable,
    507: CatalogueFull,
}

ERROR_BY_CODE: dict[str, type[Refused]] = {"too_costly": TooCostly}


class _EndpointMethod(Generic[P, T]):
    """A descriptor that turns a function of endpoints.py into a method of both clients."""

    def __init__(self, build: Callable[P, ClientRequest[T]]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: "Client", owner: object = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: object = None) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: None, owner: object = None) -> Self: ...
    def __get__(self, client: Any, owner: object = None) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **options: P.kwargs) -> Any:
            return client.send(self._build(*args, **options))

        method.__doc__ = self.__doc__
        return method


class _Endpoints:
    """The methods of both clients, one for each endpoint of the service."""

    recommend = _EndpointMethod(endpoints.recommend)
    recommend_session = _EndpointMethod(endpoints.recommend_session)
    recommend_batch = _EndpointMethod(endpoints.recommend_batch)
    rank = _EndpointMethod(endpoints.rank)
    similar = _EndpointMethod(endpoints.similar)
    item = _EndpointMethod(endpoints.item)
    image = _EndpointMethod(endpoints.image)
    items = _EndpointMethod(endpoints.items)
    item_map = _EndpointMethod(endpoints.item_map)
    item_users = _EndpointMethod(endpoints.item_users)
    put_item = _EndpointMethod(endpoints.put_item)
    patch_item = _EndpointMethod(endpoints.patch_item)
    delete_item = _EndpointMethod(endpoints.delete_item)
    put_items = _EndpointMethod(endpoints.put_items)
    item_schema = _EndpointMethod(endpoints.item_schema)
    declare_attributes = _EndpointMethod(endpoints.declare_attributes)
    popular = _EndpointMethod(endpoints.popular)
    trending = _EndpointMethod(endpoints.trending)
    user = _EndpointMethod(endpoints.user)
    users = _EndpointMethod(endpoints.users)
    forget_user = _EndpointMethod(endpoints.forget_user)
    export_user = _EndpointMethod(endpoints.export_user)
    hide_item = _EndpointMethod(endpoints.hide_item)
    show_item = _EndpointMethod(endpoints.show_item)
    hidden_items = _EndpointMethod(endpoints.hidden_items)
    send_events = _EndpointMethod(endpoints.send_events)
    quality = _EndpointMethod(endpoints.quality)
    bundles = _EndpointMethod(endpoints.bundles)
    compare_bundles = _EndpointMethod(endpoints.compare_bundles)
    publish = _EndpointMethod(endpoints.publish)
    rollback = _EndpointMethod(endpoints.rollback)
    retrain = _EndpointMethod(endpoints.retrain)
    retrainings = _EndpointMethod(endpoints.retrainings)
    retraining = _EndpointMethod(endpoints.retraining)
    cancel_retraining = _EndpointMethod(endpoints.cancel_retraining)
    experiments = _EndpointMethod(experiment_endpoints.experiments)
    experiment = _EndpointMethod(experiment_endpoints.experiment)
    declare_experiment = _EndpointMethod(experiment_endpoints.declare_experiment)
    publish_to_arm = _EndpointMethod(experiment_endpoints.publish_to_arm)
    rollback_arm = _EndpointMethod(experiment_endpoints.rollback_arm)
    end_arm = _EndpointMethod(experiment_endpoints.end_arm)
    end_experiment = _EndpointMethod(experiment_endpoints.end_experiment)
    healthz = _EndpointMethod(endpoints.healthz)
    readyz = _EndpointMethod(endpoints.readyz)
    metrics = _EndpointMethod(endpoints.metrics)


class Client(_Endpoints):
    """The synchronous client; threads may share one."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0, retries: int = 3) -> None:
        self._http = httpx.Client(base_url=base_url, headers=_headers(api_key), timeout=timeout_s)
        self._retries = retries
        self._timeout_s = timeout_s

    def send(self, request: ClientRequest[T]) -> T:
        """Send a request, with retries, and return its response; ClientError where it fails."""
        response: T = Retrying(**_retry_options(request, self._retries))(self._send_once, request)
        return response

    def _send_once(self, request: ClientRequest[T]) -> T:
        total_s, options = _total_s(request, self._timeout_s), _request_options(request, self._timeout_s)
        try:
            with self._http.stream(request.method, request.path, **options) as response:
                reader = _LimitedReader(response, total_s)
                for chunk in response.iter_bytes():
                    reader.add(chunk)
        except httpx.RequestError as error:
            raise _unreachable(error) from error
        return _parse(request, response, reader.content)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Endpoints):
    """The asynchronous client."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0, retries: int = 3) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, headers=_headers(api_key), timeout=timeout_s)
        self._retries = retries
        self._timeout_s = timeout_s

    async def send(self, request: ClientRequest[T]) -> T:
        """Send a request, with retries, and return its response; ClientError where it fails."""
        response: T = await AsyncRetrying(**_retry_options(request, self._retries))(self._send_once, request)
        return response

    async def _send_once(self, request: ClientRequest[T]) -> T:
        total_s, options = _total_s(request, self._timeout_s), _request_options(request, self._timeout_s)
        try:
            async with self._http.stream(request.method, request.path, **options) as response:
                reader = _LimitedReader(response, total_s)
                async for chunk in response.aiter_bytes():
                    reader.add(chunk)
        except httpx.RequestError as error:
            raise _unreachable(error) from error
        return _parse(request, response, reader.content)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _request_options(request: ClientRequest[Any], timeout_s: float) -> dict[str, Any]:
    timeout = httpx.Timeout(timeout_s, read=_total_s(request, timeout_s))
    params = {name: _query_value(value) for name, value in request.query.items()}
    return {"params": params, "json": request.body, "timeout": timeout}


def _query_value(value: Any) -> Any:
    """A list for a sequence, which httpx writes as a repeated parameter."""
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _unreachable(error: httpx.RequestError) -> Unreachable:
    return Unreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


class _LimitedReader:
    """Gathers the body of a response within a limit of size and one of time, whatever the server sends."""

    def __init__(self, response: httpx.Response, total_s: float) -> None:
        self._most = MAX_ANSWER_BYTES if response.is_success else MAX_REFUSAL_BYTES
        self._ends_at = time.monotonic() + total_s
        self.content = bytearray()

    def add(self, chunk: bytes) -> None:
        self.content += chunk
        if len(self.content) > self._most:
            raise UnexpectedAnswer(f"the response is longer than {self._most} bytes")
        if time.monotonic() > self._ends_at:
            raise Unreachable("the response came too slowly")


def _total_s(request: ClientRequest[Any], timeout_s: float) -> float:
    return max(timeout_s, request.timeout_s)


def _parse(request: ClientRequest[T], response: httpx.Response, content: bytes | bytearray) -> T:
    if not response.is_success:
        raise _error_of(response, content)
    try:
        return request.parse(bytes(content))
    except (ValidationError, UnicodeDecodeError) as error:
        told = explained(error) if isinstance(error, ValidationError) else error
        raise UnexpectedAnswer(f"{request.method} {request.path}: {told}") from error


def _error_of(response: httpx.Response, content: bytes | bytearray) -> Refused:
    status = response.status_code
    try:
        body = json.loads(content)
        code, detail, request_id = str(body["error"]), str(body["detail"]), str(body["request_id"])
    except (ValueError, KeyError, TypeError, RecursionError):  # not from the service but from a proxy in between
        text = content[:1_000].decode(errors="replace")
        code, detail, request_id = "unknown", text[:200], response.headers.get("x-request-id", "")
    wait = response.headers.get("retry-after", "")
    return ERROR_BY_CODE.get(code, ERROR_BY_STATUS.get(status, Refused))(
        status, code, detail, request_id, float(wait) if wait.isdecimal() else None
    )


def _retry_options(request: ClientRequest[Any], retries: int) -> dict[str, Any]:
    return {
        "stop": stop_after_attempt(1 + retries if request.idempotent else 1),
        "wait": _wait_s,
        "retry": retry_if_exception(_is_transient),
        "reraise": True,
    }


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, Refused):
        return error.status in TRANSIENT and (error.retry_after or 0) <= MAX_RETRY_AFTER_S
    return isinstance(error, Unreachable)


_backoff = wait_random_exponential(multiplier=FIRST_BACKOFF_S, max=MAX_BACKOFF_S)


def _wait_s(state: RetryCallState) -> float:
    """Retry-After plus a random backoff, so that clients refused together do not retry together."""
    error = state.outcome.exception() if state.outcome is not None else None
    retry_after = error.retry_after if isinstance(error, Refused) else None
    return (retry_after or 0.0) + _backoff(state)
