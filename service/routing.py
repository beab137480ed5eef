"""Routes that FastAPI documents and that answer without its per-request machinery.

FastAPI's dependency solving and exit stacks cost more than the search. A route here says what it takes (an id in
the path, a query model) and what it gives (a response model), which becomes the OpenAPI document; a request goes
straight from the router to the endpoint, and the answer's bytes straight to the socket.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import fastapi
import orjson
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from service.errors import InvalidRequestError, request_id_of, sentence
from service.middleware import JSON, STAGES, Stages, send_body
from service.schemas import Query, Refusal
from service.state import STATE, Service

Q = TypeVar("Q", bound=Query)

MOST_PARAMETERS = 32
QUERY_CACHE = 1_024  # query strings repeat from request to request


@dataclass(frozen=True, slots=True)
class Call(Generic[Q]):
    """One request as an endpoint sees it."""

    id: str  # the decoded id in the path, "" where the route has none
    query: Q
    request_id: str
    stages: Stages


Endpoint = Callable[[Service, Call[Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Raw:
    """A body that is not JSON made by us."""

    body: bytes
    content_type: str


def route(
    path: str, endpoint: Endpoint, *, query: type[Query] = Query, answer: type[BaseModel] | None, **options: Any
) -> APIRoute:
    """A GET route of the application; what the endpoint returns is sent as JSON, or as it is where it is Raw."""
    made = APIRoute(
        path,
        _documented(path, endpoint, query),
        response_model=answer,
        responses={422: {"model": Refusal}, **options.pop("responses", {})},
        **options,
    )
    names = list(made.param_convertors)
    made.app = _Straight(endpoint, query, names[0] if names else None)
    return made


def _documented(path: str, endpoint: Endpoint, query: type[Query]) -> Callable[..., Any]:
    """A stand-in that FastAPI reads the parameters from; it is never called."""

    def stand_in(**_: Any) -> None:
        """Carry the signature."""

    names = [name.partition(":")[0] for name in path.split("{")[1:]]
    parameters = [inspect.Parameter(n.rstrip("}"), inspect.Parameter.KEYWORD_ONLY, annotation=str) for n in names]
    if query.model_fields:
        asked = inspect.Parameter("query", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[query, fastapi.Query()])
        parameters.append(asked)
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stand_in.__name__, stand_in.__doc__ = getattr(endpoint, "__name__", path), endpoint.__doc__
    return stand_in


class _Straight:
    """The ASGI application of one route."""

    def __init__(self, endpoint: Endpoint, query: type[Query], id_name: str | None) -> None:
        self._endpoint = endpoint
        self._id_name = id_name
        self._query: Callable[[bytes], Query] = lru_cache(QUERY_CACHE)(lambda text: parse_query(text, query))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service: Service = scope["state"][STATE]
        name = self._id_name
        found = "" if name is None else read_id(scope["path_params"][name], name, service.settings.id_max_chars)
        call = Call(found, self._query(scope["query_string"]), request_id_of(scope), scope[STAGES])
        answer = await self._endpoint(service, call)
        if isinstance(answer, Raw):
            await send_body(send, 200, answer.body, answer.content_type.encode())
            return
        body = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        call.stages.mark("render")
        await send_body(send, 200, body, JSON)


def read_id(raw: str, name: str, longest: int) -> str:
    """The id behind percent-encoding; InvalidRequestError where it is empty, too long or no UTF-8."""
    try:
        found = unquote_to_bytes(raw).decode() if "%" in raw else raw
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: expected percent-encoded UTF-8") from None
    if not found:
        raise InvalidRequestError(f"{name}: is empty, expected 1 to {longest} characters")
    if len(found) > longest:
        raise InvalidRequestError(f"{name}: has {len(found)} characters, the limit is {longest}")
    return found


def parse_query(text: bytes, model: type[Q]) -> Q:
    """The validated query; InvalidRequestError says which parameter is wrong and what was expected."""
    try:
        pairs = parse_qsl(text.decode(), True, errors="strict", max_num_fields=MOST_PARAMETERS)
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        raise InvalidRequestError(sentence(error.errors(include_url=False))) from None
    except ValueError as error:  # not UTF-8, or too many parameters
        raise InvalidRequestError(f"query: {error}") from None
