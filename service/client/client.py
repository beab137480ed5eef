"""A typed client of the service, for programs that wait (`Client`) and for those that do not (`AsyncClient`).

    with Client("http://localhost:8000", api_key=key) as client:
        answer = client.recommend("u42", k=5, explain=True)
        client.send_events(GivenEvent(user_id="u42", item_id=answer.items[0].item_id, kind="click"))

Calls that do no more when sent twice are sent again after a refusal that will pass (429, 502, 503, 504) or a broken
connection, after a growing pause or the one that the service names. The others are sent once.
"""

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

from service.client import endpoints as calls
from service.client.endpoints import ClientRequest

T = TypeVar("T")
P = ParamSpec("P")

FIRST_PAUSE_S = 0.1  # at most; it is drawn
LONGEST_PAUSE_S = 2.0  # of our own; the service may name a longer one
MOST_PATIENCE_S = 10.0  # a longer pause that the service names is left to the caller
PASSING = frozenset({429, 502, 503, 504})


class ClientError(Exception):
    """The call was not answered as asked."""


class Unreachable(ClientError):  # noqa: N818 - what happened, as of all below
    """No answer came: no connection, or it broke, or it took too long."""


class UnexpectedAnswer(ClientError):  # noqa: N818
    """What came is not what this client knows: another service, or another version of it."""


class Refused(ClientError):  # noqa: N818
    """The service refused. `code` and `detail` are its words, `request_id` finds the request in its log."""

    def __init__(self, status: int, code: str, detail: str, request_id: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {code}: {detail} (request {request_id})")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id
        self.retry_after = retry_after  # seconds, where the service names them


class InvalidRequest(Refused):
    """A parameter, an id or the body breaks a limit."""


class Unauthorized(Refused):
    """No API key, or none that is taken."""


class Forbidden(Refused):
    """The key's role does not suffice."""


class NotFound(Refused):
    """The service knows no such item, bundle, job or route."""


class Conflict(Refused):
    """It cannot be done as things stand: the gate refuses a bundle, a retraining runs already or is switched off."""


class RateLimited(Refused):
    """More calls than the key may make; `retry_after` says when to come back."""


class ServiceUnavailable(Refused):
    """The service cannot answer now: too busy, about to end, or a part of it away."""


KINDS: dict[int, type[Refused]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    414: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    502: ServiceUnavailable,
    503: ServiceUnavailable,
    504: ServiceUnavailable,
}


class _Method(Generic[P, T]):
    """A call as a method of both clients: with its answer in one, to be awaited in the other."""

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

        def call(*args: P.args, **options: P.kwargs) -> Any:
            return client.ask(self._build(*args, **options))

        call.__doc__ = self.__doc__
        return call


class _Calls:
    """What both clients can be asked."""

    recommend = _Method(calls.recommend)
    recommend_session = _Method(calls.recommend_session)
    recommend_batch = _Method(calls.recommend_batch)
    similar = _Method(calls.similar)
    item = _Method(calls.item)
    popular = _Method(calls.popular)
    trending = _Method(calls.trending)
    user = _Method(calls.user)
    hide_item = _Method(calls.hide_item)
    show_item = _Method(calls.show_item)
    hidden_items = _Method(calls.hidden_items)
    send_events = _Method(calls.send_events)
    quality = _Method(calls.quality)
    bundles = _Method(calls.bundles)
    publish = _Method(calls.publish)
    rollback = _Method(calls.rollback)
    retrain = _Method(calls.retrain)
    retrainings = _Method(calls.retrainings)
    retraining = _Method(calls.retraining)
    cancel_retraining = _Method(calls.cancel_retraining)
    healthz = _Method(calls.healthz)
    readyz = _Method(calls.readyz)
    metrics = _Method(calls.metrics)


class Client(_Calls):
    """A client that waits. May be used by several threads."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0, retries: int = 3) -> None:
        self._http = httpx.Client(base_url=base_url, headers=_headers(api_key), timeout=timeout_s)
        self._retries = retries
        self._timeout_s = timeout_s

    def ask(self, ask: ClientRequest[T]) -> T:
        """Make one call; a ClientError says what came instead of an answer."""
        answer: T = Retrying(**_patience(ask, self._retries))(self._once, ask)
        return answer

    def _once(self, ask: ClientRequest[T]) -> T:
        try:
            response = self._http.request(ask.method, ask.path, **_sent(ask, self._timeout_s))
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return _read(ask, response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Calls):
    """A client to be awaited."""

    def __init__(self, base_url: str, *, api_key: str | None = None, timeout_s: float = 10.0, retries: int = 3) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, headers=_headers(api_key), timeout=timeout_s)
        self._retries = retries
        self._timeout_s = timeout_s

    async def ask(self, ask: ClientRequest[T]) -> T:
        """Make one call; a ClientError says what came instead of an answer."""
        answer: T = await AsyncRetrying(**_patience(ask, self._retries))(self._once, ask)
        return answer

    async def _once(self, ask: ClientRequest[T]) -> T:
        try:
            response = await self._http.request(ask.method, ask.path, **_sent(ask, self._timeout_s))
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return _read(ask, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _sent(ask: ClientRequest[Any], timeout_s: float) -> dict[str, Any]:
    timeout = httpx.Timeout(timeout_s, read=max(timeout_s, ask.timeout_s))
    return {"params": {name: _text(value) for name, value in ask.query.items()}, "json": ask.body, "timeout": timeout}


def _text(value: Any) -> Any:
    """Sequences come as one parameter several times; httpx writes booleans as JSON does."""
    return list(value) if isinstance(value, (tuple, set, frozenset)) else value


def _unreachable(error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _read(ask: ClientRequest[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise _refused(response)
    try:
        return ask.read(response.content)
    except (ValidationError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(f"{ask.method} {ask.path}: {error}") from error


def _refused(response: httpx.Response) -> Refused:
    status = response.status_code
    try:
        told = response.json()
        code, detail, request_id = str(told["error"]), str(told["detail"]), str(told["request_id"])
    except (ValueError, KeyError, TypeError):  # not our shape: a proxy in between
        code, detail, request_id = "unknown", response.text[:200], response.headers.get("x-request-id", "")
    after = response.headers.get("retry-after", "")
    return KINDS.get(status, Refused)(status, code, detail, request_id, float(after) if after.isdecimal() else None)


def _patience(ask: ClientRequest[Any], retries: int) -> dict[str, Any]:
    return {
        "stop": stop_after_attempt(1 + retries if ask.safe else 1),
        "wait": _pause,
        "retry": retry_if_exception(_passing),
        "reraise": True,
    }


def _passing(error: BaseException) -> bool:
    if isinstance(error, Refused):
        return error.status in PASSING and (error.retry_after or 0) <= MOST_PATIENCE_S
    return isinstance(error, Unreachable)


_growing = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)


def _pause(state: RetryCallState) -> float:
    """As long as the service says, and a little more each time: callers refused together do not come back together."""
    error = state.outcome.exception() if state.outcome is not None else None
    named = error.retry_after if isinstance(error, Refused) else None
    return (named or 0.0) + _growing(state)
