"""What a request carries beside its path: the query string and the body, read, validated and documented."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_origin
from urllib.parse import parse_qsl

import fastapi
from annotated_types import MaxLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Message, Receive, Scope

from service.errors import BodyTooLargeError, InvalidRequestError, sentence

SPARE_PARAMETERS = 64  # allowed in a query beyond those that its model has room for


class Query(BaseModel):
    """A query string; an unknown parameter is an error, as a misspelt one would silently do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def shape(self) -> str:
        """What the cost of the answer depends on: answers to requests of one shape are compared with each other."""
        return ""

    @property
    def explores(self) -> bool:
        """Whether the answer depends on what was shown and clicked until now."""
        return False

    @property
    def cheap(self) -> bool:
        """Whether it is known to cost one token whatever else the request is."""
        return False

    @property
    def depends_on_time(self) -> bool:
        """Whether the answer to the same query is another one in another minute."""
        return False


class ArmQuery(Query):
    """Which arm of the running experiment answers."""

    force_arm: str | None = Field(
        None,
        min_length=1,
        description="for testers: the arm of the running experiment that answers, whichever the user's own is; "
        "what is shown is not counted for any arm",
    )


Q = TypeVar("Q", bound=Query)


def parse_query(text: bytes, model: type[Q]) -> Q:
    """The validated query; InvalidRequestError names the wrong parameter and what was expected.

    A parameter of a tuple type may be given several times; of any other the last one counts.
    """
    try:
        pairs = parse_qsl(text.decode(), True, errors="strict", max_num_fields=_max_parameters(model))
        return model.model_validate(_collect_tuples(pairs, model))
    except ValidationError as error:
        raise InvalidRequestError(sentence(error.errors(include_url=False))) from None
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"query: {error}") from None
    except ValueError:
        limit = _max_parameters(model)
        raise InvalidRequestError(f"query: has more than {limit} parameters, the limit") from None


@lru_cache
def _max_parameters(model: type[Query]) -> int:
    """The sum of what the model's tuples may hold, and SPARE_PARAMETERS."""
    tuples = [field for field in model.model_fields.values() if get_origin(field.annotation) is tuple]
    limits = [item.max_length for field in tuples for item in field.metadata if isinstance(item, MaxLen)]
    return SPARE_PARAMETERS + sum(limits)


def _collect_tuples(pairs: list[tuple[str, str]], model: type[Query]) -> dict[str, Any]:
    values: dict[str, Any] = dict(pairs)
    for name, field in model.model_fields.items():
        if name in values and get_origin(field.annotation) is tuple:
            values[name] = tuple(value for key, value in pairs if key == name)
    return values


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; BodyTooLargeError as soon as it is known to be longer than the limit."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(announced) > limit:
        raise BodyTooLargeError(f"the body has {int(announced)} bytes, the limit is {limit}")
    body = bytearray()
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequestError("body: the connection ended before the body did")
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLargeError(f"the body has more than {limit} bytes, the limit")
        if not message.get("more_body", False):
            return bytes(body)


def documented_signature(path: str, endpoint: Callable[..., Any], query: type[Query], body: Any) -> Callable[..., Any]:
    """A function with the parameters of a route, from which FastAPI writes the OpenAPI document; it is never called."""

    def document(**_: Any) -> None: ...

    id_names = [name.partition("}")[0].partition(":")[0] for name in path.split("{")[1:]]
    annotations: dict[str, Any] = dict.fromkeys(id_names, str)
    if query.model_fields:
        annotations["query"] = Annotated[query, fastapi.Query()]
    if body is not None:
        annotations["body"] = Annotated[body, fastapi.Body()]
    parameters = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=a) for n, a in annotations.items()]
    document.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    document.__name__, document.__doc__ = getattr(endpoint, "__name__", path), endpoint.__doc__
    return document
