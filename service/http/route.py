"""Routes that FastAPI documents and that answer without its per-request machinery.

FastAPI's dependency solving and exit stacks cost more than the search. A route here says what it takes (an id in
the path, a query model) and what it gives (a response model), which becomes the OpenAPI document; a request goes
straight from the router to the endpoint, and the answer's bytes straight to the socket.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, get_origin
from urllib.parse import parse_qsl, unquote_to_bytes

import fastapi
import orjson
from annotated_types import MaxLen
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.bundles.loaded import LoadedBundle
from service.bundles.warmup import RecordedRequest
from service.errors import BodyTooLargeError, InvalidRequestError, MethodNotAllowedError, request_id_of, sentence
from service.http.responses import Query, Refusal
from service.http.sending import JSON, send_body
from service.principal import ANONYMOUS, Principal, Role, principal_of, require
from service.ranking.profile import Profile
from service.response_cache import CachedResponse, Key
from service.state import STATE, Service
from service.telemetry.timings import TIMINGS, Timings

Q = TypeVar("Q", bound=Query)

PATH_PARAMS, ROUTE = "path_params", "route"  # where ASGI frameworks leave them in the scope
SPARE_PARAMETERS = 64  # in a query, beyond those that its model has room for
QUERY_CACHE = 1_024  # query strings repeat from request to request
LONGEST_CACHED = 256  # bytes; a long query string is one caller's own and does not come again

ALWAYS = (401, 403, 408, 414, 422, 429, 431, 503, 504)  # what any route may refuse with
OF_BODIES = (413,)
RETRY_AFTER = {"description": "whole seconds, where it is known when to come back", "schema": {"type": "integer"}}

Method = Literal["GET", "POST", "PUT", "DELETE"]


@dataclass(slots=True)
class Call(Generic[Q]):
    """One request as an endpoint sees it."""

    loaded: LoadedBundle  # what answers this request to its end, whatever is published meanwhile
    id: str  # the decoded id in the path, "" where the route has none
    query: Q
    body: Any  # what the route's body type says, None where it takes none
    request_id: str
    timings: Timings
    principal: Principal
    profile: Profile | None = None  # of the user that the route asks for, None where nothing is known of that user
    headers: Sequence[tuple[bytes, bytes]] = ()  # names in lower case
    raw: bytes = b""  # the body as it came: what a signature is over


Endpoint = Callable[[Service, Call[Any]], Awaitable[Any]]
Whose = Callable[[Call[Any]], str | None]


def no_user(_: Call[Any]) -> None:
    """Of a route whose answers depend on no user."""


@dataclass(frozen=True)
class Raw:
    """A body that is not JSON made by us."""

    body: bytes
    content_type: str


def route(
    path: str,
    endpoint: Endpoint,
    *,
    method: Method = "GET",
    query: type[Query] = Query,
    body: Any = None,
    answer: type[BaseModel] | None,
    status: int = 200,
    role: Role = "read",
    whose: Whose = no_user,
    keep: bool = False,
    named: str | None = None,
    impressions: bool = False,
    refusals: Sequence[int] = (),
    refusal: type[Refusal] = Refusal,
) -> APIRoute:
    """A route of the application.

    What the endpoint returns is sent as JSON with the request's id (and `named`) in front, or as it is where it is Raw.

    Args:
        path: fixed, or with one id: `/items/{item_id:path}`, `/items/{item_id:path}/hidden`.
        body: a model, or any type that pydantic can read from JSON; None where the route takes no body.
        role: what the caller's key must at least be allowed.
        whose: the id of the user whose profile the endpoint needs; it comes as `call.profile`.
        keep: whether an answer depends on nothing but path, query, profile and what clears the answer cache.
        named: the answer's field for the id in the path, where that is a user's and all else depends on the profile
            alone: it is put in when an answer is sent, so that all of whom nothing is known share a kept one.
        impressions: whether its `items` are shown to somebody, who may click: such answers may be logged.
        refusals: statuses of its own that it may refuse with, beside those of every route, in the shape of `refusal`.
    """
    made = APIRoute(
        path,
        _documented(path, endpoint, query, body),
        methods=[method],
        status_code=status,
        response_model=answer,
        response_class=JSONResponse if answer else PlainTextResponse,
        openapi_extra={"x-role": role},
        responses=_refused(ALWAYS) | _refused(() if body is None else OF_BODIES) | _refused(refusals, refusal),
    )
    names = list(made.param_convertors)
    id_name = names[0] if names else None
    made.app = _DirectEndpoint(
        endpoint,
        path,
        query=query,
        body=body,
        id_name=id_name,
        status=status,
        role=role,
        whose=whose,
        keep=keep,
        named=named,
        impressions=impressions,
    )
    return made


def _refused(statuses: Sequence[int], model: type[Refusal] = Refusal) -> dict[int | str, Any]:
    """As FastAPI documents refusals."""
    waits = {"headers": {"Retry-After": RETRY_AFTER}}
    return {status: {"model": model, **(waits if status in (429, 503) else {})} for status in statuses}


def role_of(made: APIRoute) -> Role:
    """What a caller's key must at least be allowed, to be answered by a route of ours."""
    straight = made.app
    if not isinstance(straight, _DirectEndpoint):
        raise TypeError(f"{made.path} was not made by route()")
    return straight.role


def _documented(path: str, endpoint: Endpoint, query: type[Query], body: Any) -> Callable[..., Any]:
    """A stand-in that FastAPI reads the parameters from; it is never called."""

    def stand_in(**_: Any) -> None:
        """Carry the signature."""

    names = [name.partition("}")[0].partition(":")[0] for name in path.split("{")[1:]]
    annotations: dict[str, Any] = dict.fromkeys(names, str)
    if query.model_fields:
        annotations["query"] = Annotated[query, fastapi.Query()]
    if body is not None:
        annotations["body"] = Annotated[body, fastapi.Body()]
    parameters = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=a) for n, a in annotations.items()]
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stand_in.__name__, stand_in.__doc__ = getattr(endpoint, "__name__", path), endpoint.__doc__
    return stand_in


class _DirectEndpoint:
    """The ASGI application of one route."""

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        *,
        query: type[Query],
        body: Any,
        id_name: str | None,
        status: int,
        role: Role,
        whose: Whose,
        keep: bool,
        named: str | None,
        impressions: bool,
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._id_name = id_name
        self._status = status
        self.role = role
        self._whose = whose
        self._keep = keep
        self._named = named
        self._impressions = impressions
        self._body: TypeAdapter[Any] | None = None if body is None else TypeAdapter(body)
        self._replay = self.replay  # bound once, not at every request
        self._parse: Callable[[bytes], Query] = lambda text: parse_query(text, query)
        self._parse_cached = lru_cache(QUERY_CACHE)(self._parse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["state"][STATE]
        epoch = service.responses.epoch  # before anything that an answer is made of is read
        call = await self._call(service, scope, receive)
        if self._keep and (call.profile is not None or self._whose(call) is None):
            answer: CachedResponse | Raw = await self._kept(
                service, call, self._key(call, scope["query_string"]), epoch
            )
        else:
            answer = await self._made(service, call)
        if isinstance(answer, Raw):
            await send_body(send, self._status, answer.body, answer.content_type.encode())
            return
        service.metrics.count_answer(answer.source)
        if self._impressions and service.settings.log_impressions:
            user_id, bundle_id = self._whose(call) or "", call.loaded.bundle.bundle_id
            service.feedback.record_impression(call.request_id, user_id, bundle_id, answer.n_items)
        head = {"request_id": call.request_id}
        if self._named is not None:
            head[self._named] = call.id
        await send_body(send, self._status, _headed(head, answer.rendered), JSON)

    async def _call(self, service: Service, scope: Scope, receive: Receive) -> Call[Any]:
        principal = principal_of(scope)
        require(principal, self.role)
        limits, name, text = service.settings, self._id_name, scope["query_string"]
        found = "" if name is None else read_id(scope["path_params"][name], name, limits.id_max_chars)
        query = (self._parse_cached if len(text) <= LONGEST_CACHED else self._parse)(text)
        body, raw = None, b""
        if self._body is not None:
            raw = await read_body(scope, receive, limits.body_max_bytes)
            body = parse_body(raw, self._body)
        call = Call(
            service.current.loaded, found, query, body, request_id_of(scope), scope[TIMINGS], principal,
            headers=scope["headers"], raw=raw,
        )  # fmt: skip
        user_id = self._whose(call)
        if user_id is not None:
            users = call.loaded.users
            call.profile = users.peek(user_id) or await users.find(user_id)
            call.timings.mark("user")
        if self._keep:
            service.recent.record(RecordedRequest(partial(self._replay, service), found, query, user_id is not None))
        return call

    async def replay(self, service: Service, loaded: LoadedBundle, found: str, query: Query) -> None:
        """Answer a recorded request from a bundle that may not serve yet, and drop the response."""
        call = Call(loaded, found, query, None, "", Timings(time.perf_counter), ANONYMOUS)
        user_id = self._whose(call)
        if user_id is not None:
            call.profile = await loaded.users.find(user_id)
        await self._made(service, call)

    def _key(self, call: Call[Any], query: bytes) -> Key:
        shared = self._named is not None and call.profile is call.loaded.users.unknown_profile
        return self._name, "" if shared else call.id, query

    async def _kept(self, service: Service, call: Call[Any], key: Key, epoch: int) -> CachedResponse | Raw:
        """The answer of before, or one made now and kept."""
        found = service.responses.get(key, call.profile)
        if found is not None:
            call.timings.mark("kept")
            return found
        made = await self._made(service, call)
        if isinstance(made, CachedResponse):
            service.responses.put(key, made, epoch)
        return made

    async def _made(self, service: Service, call: Call[Any]) -> CachedResponse | Raw:
        answer = await self._endpoint(service, call)
        if isinstance(answer, Raw):
            return answer
        rendered = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)[1:]
        call.timings.mark("render")
        return CachedResponse(call.profile, rendered, answer.get("source", ""), len(answer.get("items", ())))


def _headed(head: dict[str, str], rendered: bytes) -> bytes:
    """The whole JSON object: these fields in front of what comes after the opening brace."""
    front = orjson.dumps(head)
    return front[:-1] + rendered if rendered == b"}" else b"%b,%b" % (front[:-1], rendered)


def read_id(raw: str, name: str, longest: int) -> str:
    """The id behind percent-encoding; InvalidRequestError where it is empty, too long or no UTF-8."""
    try:
        found = unquote_to_bytes(raw).decode() if "%" in raw else raw
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: expected percent-encoded UTF-8") from None
    return checked_id(found, name, longest)


def checked_id(found: str, name: str, longest: int) -> str:
    """The id; InvalidRequestError where it is empty or too long."""
    if not found:
        raise InvalidRequestError(f"{name}: is empty, expected 1 to {longest} characters")
    if len(found) > longest:
        raise InvalidRequestError(f"{name}: has {len(found)} characters, the limit is {longest}")
    return found


def parse_query(text: bytes, model: type[Q]) -> Q:
    """The validated query; InvalidRequestError says which parameter is wrong and what was expected.

    A parameter of a tuple type may be given several times; of any other the last one counts.
    """
    try:
        pairs = parse_qsl(text.decode(), True, errors="strict", max_num_fields=_most_parameters(model))
        return model.model_validate(_gathered(pairs, model))
    except ValidationError as error:
        raise InvalidRequestError(sentence(error.errors(include_url=False))) from None
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"query: {error}") from None
    except ValueError:
        most = _most_parameters(model)
        raise InvalidRequestError(f"query: has more than {most} parameters, the limit") from None


@lru_cache
def _most_parameters(model: type[Query]) -> int:
    """Room for every list that the model allows, and to spare."""
    lists = [field for field in model.model_fields.values() if get_origin(field.annotation) is tuple]
    return SPARE_PARAMETERS + sum(
        one.max_length for field in lists for one in field.metadata if isinstance(one, MaxLen)
    )


def _gathered(pairs: list[tuple[str, str]], model: type[Query]) -> dict[str, Any]:
    found: dict[str, Any] = dict(pairs)
    for name, field in model.model_fields.items():
        if name in found and get_origin(field.annotation) is tuple:
            found[name] = tuple(value for key, value in pairs if key == name)
    return found


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; BodyTooLargeError as soon as it is known to be longer than the limit."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(announced) > limit:
        raise BodyTooLargeError(f"the body has {int(announced)} bytes, the limit is {limit}")
    read = bytearray()
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequestError("body: the connection ended before the body did")
        read += message.get("body", b"")
        if len(read) > limit:
            raise BodyTooLargeError(f"the body has more than {limit} bytes, the limit")
        if not message.get("more_body", False):
            return bytes(read)


def parse_body(body: bytes, kind: TypeAdapter[Any]) -> Any:
    """The validated body; InvalidRequestError says what is wrong in it and what was expected."""
    try:
        return kind.validate_json(body, strict=True)
    except ValidationError as error:
        raise InvalidRequestError("body: " + sentence(error.errors(include_url=False, include_context=False))) from None


class _Entry(NamedTuple):
    route: APIRoute
    prefix: str  # up to the id
    id_name: str
    suffix: str  # after the id

    def id_in(self, path: str) -> str | None:
        """The id as it stands in the path, or None where the path is not of this shape."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        end = len(path) - len(self.suffix)
        return path[len(self.prefix) : end] if end >= len(self.prefix) else None


class DispatchMiddleware:
    """Plain ASGI middleware that answers for the routes it knows."""

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], APIRoute] = {}
        self._with_id: dict[tuple[str, str], list[_Entry]] = {}
        for route in routes:
            for method in route.methods or ():
                self._add(method, route)
        for entries in self._with_id.values():
            entries.sort(key=lambda entry: len(entry.prefix) + len(entry.suffix), reverse=True)  # most definite first

    def _add(self, method: str, route: APIRoute) -> None:
        prefix, brace, rest = route.path_format.partition("{")
        if not brace:
            self._fixed[method, prefix] = route
            return
        id_name, _, suffix = rest.partition("}")
        self._with_id.setdefault((method, first_word(prefix)), []).append(_Entry(route, prefix, id_name, suffix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on; MethodNotAllowedError where the path alone is one of ours."""
        if scope["type"] == "http" and self._found(scope):
            await scope[ROUTE].app(scope, receive, send)
            return
        allowed = self._allowed(scope["path"]) if scope["type"] == "http" else []
        if allowed:
            raise MethodNotAllowedError(allowed)
        await self._app(scope, receive, send)

    def _allowed(self, path: str) -> list[str]:
        """The methods that some route of ours answers under this path."""
        methods = {method for method, _ in (*self._fixed, *self._with_id)}
        return sorted(method for method in methods if self._found({"method": method, "path": path}))

    def _found(self, scope: Scope) -> bool:
        """Whether the request is for a route of ours; what is found out of it is put into the scope."""
        method, path = scope["method"], scope["path"]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            scope[ROUTE], scope[PATH_PARAMS] = fixed, {}
            return True
        for entry in self._with_id.get((method, first_word(path)), ()):
            found = entry.id_in(path)
            if found is not None:
                scope[ROUTE], scope[PATH_PARAMS] = entry.route, {entry.id_name: found}
                return True
        return False


def first_word(path: str) -> str:
    """`items` of `/items/a/b/hidden`."""
    return path[1 : path.find("/", 1)] if "/" in path[1:] else path[1:]
