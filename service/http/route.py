"""Routes of the service: `route()` declares one, `DispatchMiddleware` finds it, and its endpoint answers directly.

FastAPI writes the OpenAPI document from each route but answers none of them: its dependency solving and exit stacks
cost more per request than the search.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from http import HTTPStatus
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

import orjson
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from index.recommending.profile import Profile
from service.bundles.loaded import LoadedBundle
from service.bundles.warmup import RecordedRequest, Replayed
from service.errors import (
    ARRIVING,
    OVERLOADED,
    REQUEST_ID,
    SPEND,
    TIMED_OUT,
    InvalidRequestError,
    MethodNotAllowedError,
    NoRouteError,
    ResponseTimeoutError,
    describe,
    overload,
)
from service.experiments.arms import ChosenArm
from service.http.content_encoding import NDJSON, content_type_of, decoded, encoding_of
from service.http.json_body import BodyParser
from service.http.parameters import ArmQuery, Query, documented_signature, parse_query, read_body
from service.http.responses import Refusal
from service.http.sending import JSON, send_body
from service.principal import ANONYMOUS, CALLER, LOWEST_ROLE, PRINCIPAL, Principal, Role, require
from service.ranking.facets import MINUTE_S
from service.ranking.turns import Turn
from service.response_cache import CachedResponse, Key
from service.state import STATE, Service
from service.telemetry.metrics import ExperimentMetrics
from service.telemetry.timings import ARM, TIMINGS, Timings

Q = TypeVar("Q", bound=Query)

PATH_PARAMS, ROUTE = "path_params", "route"  # keys of the ASGI scope that frameworks agree on
QUERY_CACHE_SIZE = 1_024  # parsed queries: the same query strings come again and again
PARSE_INLINE_BYTES = 16_384  # a longer body is parsed in a thread, as a compressed one is
MAX_CACHED_QUERY_BYTES = 256  # a long query string is specific to one caller and seldom comes again

NDJSON_BODY = {"requestBody": {"content": {NDJSON: {"schema": {"type": "string"}}}}}  # documented beside JSON
COMMON_ERRORS = (401, 403, 408, 414, 422, 429, 431, 503, 504)  # statuses that any route may refuse with
BODY_ERRORS = (413, 415)
ID_ERRORS = (404,)
ARM_ERRORS = (404, 409)
RETRY_AFTER = {"description": "seconds after which to retry, where known", "schema": {"type": "integer"}}

BUNDLE_ROUTES = (
    "/recommend",
    "/similar",
    "/popular",
    "/items",
    "/users",
    "/trending",
    "/rank",
)  # answered from a bundle
KEPT = "kept"  # the stage of a cached response
FAULTS = (500, 504)  # statuses of failures that the canary counts

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class BatchPart(NamedTuple):
    """A part of a batch that was answered from one bundle of several."""

    loaded: LoadedBundle
    shape: str
    seconds: float


@dataclass(slots=True)
class Request(Generic[Q]):
    """One request as an endpoint sees it."""

    loaded: LoadedBundle  # answers this request to its end, even if another bundle is published meanwhile
    id: str  # the decoded id in the path, "" where the route has none
    query: Q
    body: Any  # validated, of the route's body type; None where it takes none
    request_id: str
    timings: Timings
    principal: Principal
    profile: Profile | None = None  # of the user named by the route's `user_of`
    headers: Sequence[tuple[bytes, bytes]] = ()  # names in lower case
    cost: int = 1
    turn: Turn = field(init=False)  # at computing, of requests that take long
    raw_body: bytes = b""  # before parsing, after Content-Encoding: signatures are computed over it
    shown: Sequence[int] = ()  # the items' rows in the response of a route with `impressions`, set by the endpoint
    explored: Collection[int] = ()  # those of them that are shown to learn about them
    computed_from: float = 0.0  # by the clock of durations, once the request and its user's profile are there
    arm: ChosenArm | None = None  # which answers, where an experiment runs and the request names a user, or forces one
    arms: Mapping[str, ChosenArm] | None = None  # those of a batch's users, where an experiment runs
    parts: Sequence[BatchPart] = ()  # of a batch that several bundles answered, set by the endpoint

    @property
    def computed_s(self) -> float:
        """Seconds since computing began, without the waits for its turn; 0 before it begins."""
        return time.perf_counter() - self.computed_from - self.turn.waited_s if self.computed_from else 0.0

    def begin_part(self, loaded: LoadedBundle, body: Any) -> None:
        """Go on with a part of the body, from this bundle, which gets the time and the faults."""
        self.loaded, self.body, self.computed_from = loaded, body, time.perf_counter() - self.turn.waited_s


@dataclass(frozen=True)
class TextResponse:
    """A response body that is not JSON."""

    body: bytes
    content_type: str


Answered = CachedResponse | TextResponse | Response
Endpoint = Callable[[Service, Request[Any]], Awaitable[Any]]
UserOf = Callable[[Request[Any]], str | None]
UsersOf = Callable[[Request[Any]], Sequence[str]]
CacheVariant = Callable[[Service, Request[Any]], bytes]
IsKnown = Callable[[Service, str], Awaitable[bool]]
CostOf = Callable[[Service, Request[Any]], int]  # in tokens of rate limits


def one_token(_: Service, __: Request[Any]) -> int:
    """The cost of a request that computes next to nothing."""
    return 1


def no_user(_: Request[Any]) -> None:
    """The `user_of` of a route whose responses depend on no user."""


def no_users(_: Request[Any]) -> Sequence[str]:
    """The `batch_of` of a route whose requests are of one user at most."""
    return ()


async def unknown(_: Service, __: str) -> bool:
    """The `is_known` of a route whose ids have no slashes."""
    return False


def same_for_all(_: Service, __: Request[Any]) -> bytes:
    """The `cache_variant` of a route whose responses depend on nothing else."""
    return b""


def user_in_path(request: Request[Any]) -> str:
    """The `user_of` of a route whose path holds a user id."""
    return request.id


def route(
    path: str,
    endpoint: Endpoint,
    *,
    method: Method = "GET",
    query: type[Query] = Query,
    body: Any = None,
    lines: bool = False,
    response: type[BaseModel] | None,
    status: int = 200,
    role: Role = "read",
    user_of: UserOf = no_user,
    arm_of: UserOf | None = None,
    batch_of: UsersOf = no_users,
    cost_of: CostOf = one_token,
    cacheable: bool = False,
    cache_variant: CacheVariant = same_for_all,
    user_field: str | None = None,
    impressions: bool = False,
    is_known: IsKnown = unknown,
    errors: Sequence[int] = (),
    error_model: type[Refusal] = Refusal,
    media_type: str = "text/plain",
    empty: Sequence[int] = (),
) -> APIRoute:
    """A route of the application.

    The endpoint's result is sent as JSON, with the request id (and `user_field`) in front, or as it is if it is a
    TextResponse or one of Starlette's.

    Args:
        path: fixed, or with one segment that is an id: `/items/{item_id}`, `/items/{item_id}/hidden`.
        body: a model, or any type that pydantic can read from JSON; None where the route takes no body.
        lines: whether the body, a list, may also come as NDJSON.
        response: the model that documents the response; None for `media_type`.
        query: of the parameters; with those of ArmQuery, an arm of the running experiment answers.
        role: the lowest role that a caller's key must have.
        user_of: the id of the user whose profile the endpoint needs as `request.profile`.
        arm_of: the id of the user whose arm answers, where that is not the user of `user_of`.
        batch_of: the users of whom each may have another arm; the endpoint finds these in `request.arms`.
        cost_of: what a request costs.
        cacheable: whether a response depends only on path, query, profile and what clears the response cache.
        cache_variant: what else the cached response to a query that explores depends on.
        user_field: the response's field for the user id in the path, where everything else depends on the profile
            alone. It is added when a response is sent, so that all unknown users share one cached response.
        impressions: whether the items of `request.shown` are shown to a user who may click: they may be logged.
        is_known: whether there is an id that was sent with bare slashes, as proxies do that decode `%2F`. Otherwise
            the path is one that no route has.
        errors: statuses that this route may refuse with beside COMMON_ERRORS, in the shape of `error_model`.
        empty: statuses of further responses, which have no body.
    """
    body_errors = () if body is None else BODY_ERRORS
    responses: dict[int | str, dict[str, Any]] = (
        ({} if response else {status: {"content": {media_type: {}}}})
        | _documented_errors(COMMON_ERRORS)
        | _documented_errors(ID_ERRORS if "{" in path else ())
        | _documented_errors(body_errors)
        | _documented_errors(ARM_ERRORS if issubclass(query, ArmQuery) else ())
        | _documented_errors(errors, error_model)
        | {one: {"description": HTTPStatus(one).phrase} for one in empty}
    )
    api_route = APIRoute(
        path,
        documented_signature(path, endpoint, query, body),
        methods=[method],
        status_code=status,
        response_model=response,
        response_class=JSONResponse if response else Response,
        openapi_extra={"x-role": role, **(NDJSON_BODY if lines else {})},
    )
    # Not as an argument: FastAPI would build a validator for every status of every route, half of a service's start.
    api_route.responses = responses
    api_route.response_fields = {one: _response_field(r["model"]) for one, r in responses.items() if "model" in r}
    api_route.app = _DirectEndpoint(
        endpoint,
        path,
        next(iter(api_route.param_convertors), None),
        query,
        None if body is None else BodyParser(body, takes_lines=lines),
        status,
        role,
        user_of,
        user_of if arm_of is None else arm_of,
        batch_of,
        cost_of,
        cacheable,
        cache_variant,
        user_field,
        impressions,
        is_known,
    )
    return api_route


def _documented_errors(statuses: Sequence[int], model: type[Refusal] = Refusal) -> dict[int | str, Any]:
    retry = {"headers": {"Retry-After": RETRY_AFTER}}
    return {status: {"model": model, **(retry if status in (429, 503) else {})} for status in statuses}


@cache
def _response_field(model: type[Refusal]) -> Any:
    return create_model_field(model.__name__, model, mode="serialization")


def role_of(api_route: APIRoute) -> Role:
    """The lowest role that a caller's key must have for this route."""
    if not isinstance(api_route.app, _DirectEndpoint):
        raise TypeError(f"{api_route.path} was not made by route()")
    return api_route.app.role


def replayable(api_route: APIRoute, service: Service, path_id: str, query: str, body: Any = None) -> RecordedRequest:
    """A request to this route that `warm_up` can replay, as if a caller had sent it."""
    if not isinstance(api_route.app, _DirectEndpoint):
        raise TypeError(f"{api_route.path} was not made by route()")
    endpoint = api_route.app
    replay = partial(endpoint.replay, service, body=body)
    return RecordedRequest(replay, path_id, parse_query(query.encode(), endpoint.query), personal=False)


@dataclass(eq=False)
class _DirectEndpoint:
    """The ASGI application of one route; the fields are the arguments of `route()`."""

    endpoint: Endpoint
    path: str
    id_name: str | None
    query: type[Query]
    body: BodyParser | None
    status: int
    role: Role
    user_of: UserOf
    arm_of: UserOf
    batch_of: UsersOf
    cost_of: CostOf
    cacheable: bool
    cache_variant: CacheVariant
    user_field: str | None
    impressions: bool
    is_known: IsKnown

    def __post_init__(self) -> None:
        self._watched = self.role == LOWEST_ROLE and self.path.startswith(BUNDLE_ROUTES)
        self._has_arms = issubclass(self.query, ArmQuery)
        self._replay = self.replay  # bound once, not at every request
        self._parse_query: Callable[[bytes], Query] = lambda text: parse_query(text, self.query)
        self._parse_query_cached = lru_cache(QUERY_CACHE_SIZE)(self._parse_query)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["state"][STATE]
        epoch = service.responses.epoch  # read before anything that the response is made from
        request = await self._read(service, scope, receive)
        if self._has_arms and (service.arms.experiment is not None or request.query.force_arm is not None):
            self._choose_arms(service, request, scope)
        if request.body is not None or not request.query.cheap:  # most requests are cheap, and their queries cached
            request.cost = self.cost_of(service, request)
        if request.cost > 1 and SPEND in scope:
            scope[SPEND](request.cost - 1)
        if self._watched:
            response = await self._answer_watched(service, request, scope, epoch)
        else:
            response = await self._answer(service, request, scope["query_string"], epoch)
        if isinstance(response, TextResponse):
            await send_body(send, self.status, response.body, response.content_type.encode())
            return
        if isinstance(response, Response):
            await response(scope, receive, send)
            return
        service.metrics.count_answer(response.source)
        if response.item_ids and scope["method"] != "HEAD":
            user_id, bundle_id = self.user_of(request) or "", request.loaded.bundle.bundle_id
            label = None if request.arm is None else request.arm.label
            service.feedback.record_impression(
                request.request_id, user_id, bundle_id, response.item_ids, response.explored_ids, arm=label
            )
        first_fields = {"request_id": request.request_id}
        if request.arm is not None:
            count_arm(service.metrics, request.arm)
            first_fields |= scope[ARM]
        if self.user_field is not None:
            first_fields[self.user_field] = request.id
        await send_body(send, self.status, _prepend_fields(first_fields, response.rendered), JSON)

    async def _read(self, service: Service, scope: Scope, receive: Receive) -> Request[Any]:
        """The request, validated. InvalidRequestError or ForbiddenError where refused."""
        principal: Principal = scope[PRINCIPAL]
        if self.role != LOWEST_ROLE:
            require(principal, self.role)
        settings, text = service.settings, scope["query_string"]
        path_id = ""
        if self.id_name is not None:
            encoded_id = scope[PATH_PARAMS][self.id_name]
            path_id = decode_id(encoded_id, self.id_name, settings.id_max_chars)
            if "/" in encoded_id and not await self.is_known(service, path_id):
                raise NoRouteError(self.id_name)
        query = (self._parse_query_cached if len(text) <= MAX_CACHED_QUERY_BYTES else self._parse_query)(text)
        body, raw_body = None, b""
        if self.body is not None:
            raw_body, body = await _read_body(service, scope, receive, self.body)
        elif ARRIVING in scope:
            scope[ARRIVING]()
            if OVERLOADED in scope:
                raise overload(scope)
        return Request(
            service.current.loaded, path_id, query, body, scope[REQUEST_ID], scope[TIMINGS], principal,
            headers=scope["headers"], raw_body=raw_body,
        )  # fmt: skip

    def _choose_arms(self, service: Service, request: Request[Any], scope: Scope) -> None:
        """Choose what answers the request to its end: its arm, or the arm of each user of a batch."""
        arms, forced = service.arms, request.query.force_arm
        request.arm = arms.choose(self.arm_of(request), forced)
        if request.arm is not None:
            request.loaded, scope[ARM] = request.arm.loaded, request.arm.fields
            return
        chosen = {user_id: arms.choose(user_id, None) for user_id in dict.fromkeys(self.batch_of(request))}
        request.arms = {user_id: arm for user_id, arm in chosen.items() if arm is not None}

    async def _answer_watched(self, service: Service, request: Request[Any], scope: Scope, epoch: int) -> Answered:
        """The answer, counted for the canary of its bundle, unless it is cached: that says nothing new about it."""
        try:
            response = await self._answer(service, request, scope["query_string"], epoch)
        except BaseException as error:
            if _is_fault(error, scope):  # else refused, or given up by the caller
                self._count(request, scope, fault=True)
            raise
        if not (request.timings.marks and request.timings.marks[-1][0] == KEPT):
            self._count(request, scope, fault=False)
            if self.impressions and service.arms.shadow is not None:
                self._offer_to_shadow(service, request, response)
            if request.arm is not None and request.arm.label is not None and request.shown:
                request.loaded.traffic.record_list(self.user_of(request) or "", request.shown)
        return response

    def _offer_to_shadow(self, service: Service, request: Request[Any], response: Answered) -> None:
        """Let the shadow answer its share of what the published bundle answered; explored lists differ by chance."""
        query = request.query if request.body is None else request.body
        if (
            isinstance(response, CachedResponse)
            and request.loaded is service.current.loaded
            and not query.explores
            and service.shadow.takes(request.request_id)
        ):
            # Its own arguments, as the request refers to the bundle that answered it.
            replay = partial(self.replay, service, path_id=request.id, query=request.query, body=request.body)
            bundle_id = request.loaded.bundle.bundle_id
            service.shadow.offer(bundle_id, replay, response.rendered, request.computed_s)

    def _count(self, request: Request[Any], scope: Scope, *, fault: bool) -> None:
        """Count an answer with the time that it took to compute.

        Without the waits for the caller's body, the user's profile, its turn at computing and the caller to read:
        others' load prolongs them.
        """
        if request.parts and not fault:
            for loaded, shape, seconds in request.parts:
                loaded.traffic.record(self.path, shape, scope[CALLER], seconds)
            return
        shape = getattr(request.query if request.body is None else request.body, "shape", "")
        request.loaded.traffic.record(self.path, shape, scope[CALLER], request.computed_s, fault=fault)

    async def _answer(self, service: Service, request: Request[Any], query_string: bytes, epoch: int) -> Answered:
        """The response, with the profile of the request's user."""
        user_id = self.user_of(request)
        if user_id is not None:
            users = request.loaded.users
            request.profile = users.peek(user_id) or await users.find(user_id)
            request.timings.mark("user")
        request.computed_from = time.perf_counter()
        if self.cacheable:
            replay = partial(self._replay, service)
            service.recent.record(RecordedRequest(replay, request.id, request.query, user_id is not None))
        if self.cacheable and (request.profile is not None or user_id is None):
            return await self._respond_from_cache(service, request, query_string, epoch)
        return await self._respond(service, request)

    async def replay(
        self, service: Service, loaded: LoadedBundle, path_id: str, query: Query, body: Any = None
    ) -> Replayed:
        """Answer a recorded request from a bundle that need not serve; neither caches nor counts show it."""
        request = Request(loaded, path_id, query, body, "", Timings(time.perf_counter), ANONYMOUS)
        user_id = self.user_of(request)
        if user_id is not None:
            request.profile = await loaded.users.find_for_replay(user_id)
        request.computed_from = time.perf_counter()
        response = await self._respond(service, request)
        rendered = response.rendered if isinstance(response, CachedResponse) else b""
        return Replayed(rendered, request.computed_s)

    async def _respond_from_cache(self, service: Service, request: Request[Any], query: bytes, epoch: int) -> Answered:
        """The cached response; on a miss a computed one, which is then cached."""
        unknown_user = self.user_field is not None and request.profile is request.loaded.users.unknown_profile
        if request.query.explores:
            query += self.cache_variant(service, request)
        if request.query.depends_on_time:
            query += b" %d" % (service.live.now() // MINUTE_S)  # a space is in no query string
        bundle_id = "" if request.arm is None else request.loaded.bundle.bundle_id  # a swap clears the cache
        key: Key = self.path, "" if unknown_user else request.id, query, bundle_id
        cached = service.responses.get(key, request.profile)
        if cached is not None:
            request.timings.mark(KEPT)
            return cached
        response = await self._respond(service, request)
        if isinstance(response, CachedResponse):
            service.responses.put(key, response, epoch)
        return response

    async def _respond(self, service: Service, request: Request[Any]) -> Answered:
        """The endpoint's response, rendered."""
        request.turn = Turn(service.lane, long=request.cost > 1)
        try:
            return await self._compute(service, request)
        finally:
            request.turn.end()

    async def _compute(self, service: Service, request: Request[Any]) -> Answered:
        result = await self.endpoint(service, request)
        if isinstance(result, TextResponse | Response):
            return result
        rendered = orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY)[1:]
        request.timings.mark("render")
        logged = self.impressions and service.settings.log_impressions
        item_ids = tuple(request.loaded.items.shown(row).item_id for row in request.shown) if logged else ()
        explored_ids = tuple(item_ids[i] for i, row in enumerate(request.shown) if logged and row in request.explored)
        return CachedResponse(request.profile, rendered, result.get("source", ""), item_ids, explored_ids)


def count_arm(metrics: ExperimentMetrics, arm: ChosenArm) -> None:
    """Count an answer of this arm."""
    metrics.arm_answers.labels(arm.experiment, arm.arm, arm.why).inc()


async def _read_body(service: Service, scope: Scope, receive: Receive, parser: BodyParser) -> tuple[bytes, Any]:
    """The decoded body and its validated value."""
    encoding, limit = encoding_of(scope["headers"]), service.settings.body_max_bytes
    received = await read_body(scope, receive, limit)
    if OVERLOADED in scope:  # when the last of the body arrived
        raise overload(scope)

    lines = parser.takes_lines and content_type_of(scope["headers"]) == NDJSON

    def parse() -> tuple[bytes, Any]:
        body = decoded(received, encoding, limit)
        return body, parser(body, lines=lines)

    if encoding == "identity" and len(received) <= PARSE_INLINE_BYTES:
        return parse()
    async with service.parsing:  # several threads would wait for each other, and the event loop for all of them
        return await asyncio.to_thread(parse)


def _is_fault(error: BaseException, scope: Scope) -> bool:
    """Whether the caller gets a 500 or 504: a 503 is load or an unavailable store, whichever bundle serves."""
    if isinstance(error, asyncio.CancelledError):
        return isinstance(scope.get(TIMED_OUT), ResponseTimeoutError)
    return isinstance(error, Exception) and describe(error)[0] in FAULTS


def _prepend_fields(fields: dict[str, str], rendered: bytes) -> bytes:
    """The whole JSON object: these fields in front of what follows the opening brace."""
    front = orjson.dumps(fields)
    return front[:-1] + rendered if rendered == b"}" else b"%b,%b" % (front[:-1], rendered)


def decode_id(encoded: str, name: str, max_chars: int) -> str:
    """The percent-decoded id; InvalidRequestError where it is empty, too long or not UTF-8."""
    try:
        decoded = unquote_to_bytes(encoded).decode() if "%" in encoded else encoded
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: expected percent-encoded UTF-8") from None
    return check_id(decoded, name, max_chars)


def check_id(decoded: str, name: str, max_chars: int) -> str:
    """The id itself; InvalidRequestError where it is empty or too long."""
    if not decoded:
        raise InvalidRequestError(f"{name}: is empty, expected 1 to {max_chars} characters")
    if len(decoded) > max_chars:
        raise InvalidRequestError(f"{name}: has {len(decoded)} characters, the limit is {max_chars}")
    return decoded


class _IdPattern(NamedTuple):
    """A route whose path holds an id."""

    route: APIRoute
    prefix: str  # of the path, up to the id
    id_name: str
    suffix: str  # after the id

    def match(self, path: str) -> str | None:
        """The encoded id in the path, perhaps with bare slashes, or None where the path does not match."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        end = len(path) - len(self.suffix)
        return path[len(self.prefix) : end] if end >= len(self.prefix) else None


class DispatchMiddleware:
    """Plain ASGI middleware that passes each request to its route, and the rest on to the application.

    HEAD goes where GET does: the server leaves out the body. An id is one segment of the path. Where a path with more
    segments could be one of an id with bare slashes, the route decides whether it knows such an id.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], APIRoute] = {}  # by method and path
        self._with_id: dict[tuple[str, str], list[_IdPattern]] = {}  # by method and first segment of the path
        for route in routes:
            for method in route.methods or ():
                self._add(method, route)
                if method == "GET":
                    self._add("HEAD", route)
        for patterns in self._with_id.values():
            patterns.sort(key=lambda pattern: len(pattern.prefix) + len(pattern.suffix), reverse=True)  # longest first
        self._methods = sorted({method for method, _ in (*self._fixed, *self._with_id)})

    def _add(self, method: str, route: APIRoute) -> None:
        prefix, brace, rest = route.path_format.partition("{")
        if not brace:
            self._fixed[method, prefix] = route
            return
        id_name, _, suffix = rest.partition("}")
        self._with_id.setdefault((method, first_segment(prefix)), []).append(_IdPattern(route, prefix, id_name, suffix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """MethodNotAllowedError, NoRouteError where a route has this path, or nearly, but does not answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._match(scope) or self._match_or_refuse(scope):
            await scope[ROUTE].app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _match(self, scope: Scope) -> bool:
        """Whether a route matches; if so, the route and the encoded id are put into the scope."""
        method, path = scope["method"], scope["path"]
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            scope[ROUTE], scope[PATH_PARAMS] = fixed, {}
            return True
        for pattern in self._with_id.get((method, first_segment(path)), ()):
            encoded_id = pattern.match(path)
            if encoded_id is not None and "/" not in encoded_id:
                scope[ROUTE], scope[PATH_PARAMS] = pattern.route, {pattern.id_name: encoded_id}
                return True
        return False

    def _match_or_refuse(self, scope: Scope) -> bool:
        """Whether a route with an id matches if bare slashes belong to the id; it must know that id."""
        method, path = scope["method"], scope["path"]
        near = {other: self._match_with_slashes(other, path) for other in self._methods}
        found = near.get(method)
        if found is not None:
            pattern, encoded_id = found
            scope[ROUTE], scope[PATH_PARAMS] = pattern.route, {pattern.id_name: encoded_id}
            return True
        allowed = [other for other in self._methods if self._match({"method": other, "path": path})]
        if allowed:
            raise MethodNotAllowedError(allowed)
        for pattern, _ in filter(None, near.values()):
            raise NoRouteError(pattern.id_name)
        return False

    def _match_with_slashes(self, method: str, path: str) -> tuple[_IdPattern, str] | None:
        for pattern in self._with_id.get((method, first_segment(path)), ()):
            encoded_id = pattern.match(path)
            if encoded_id is not None and "/" in encoded_id:
                return pattern, encoded_id
        return None


def first_segment(path: str) -> str:
    """`items` of `/items/a/b/hidden`."""
    return path[1 : path.find("/", 1)] if "/" in path[1:] else path[1:]
