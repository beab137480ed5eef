import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from service.errors import BodyTooLargeError, ForbiddenError, InvalidRequestError
from service.http.json_body import BodyParser
from service.http.parameters import Query, parse_query, read_body
from service.principal import Principal, require


class Several(Query):
    exclude: tuple[str, ...] = ()
    k: int = 1


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    item_id: str
    weight: float = 1.0


def read(chunks: list[bytes], limit: int, announced: int | None = None) -> bytes:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    return asyncio.run(read_body({"headers": headers}, receive, limit))


def test_a_body_is_read_in_as_many_pieces_as_it_comes() -> None:
    assert read([b"{", b'"a":', b"1}"], 7) == b'{"a":1}'


def test_a_body_beyond_the_limit_is_refused_by_what_it_announces_or_by_what_comes() -> None:
    with pytest.raises(BodyTooLargeError, match="has 9 bytes, the limit is 8"):
        read([b"123456789"], 8, announced=9)
    with pytest.raises(BodyTooLargeError, match="more than 8 bytes"):
        read([b"12345", b"6789"], 8)


def test_a_parameter_of_a_tuple_may_come_several_times() -> None:
    assert parse_query(b"exclude=a&k=3&exclude=b%20c", Several) == Several(exclude=("a", "b c"), k=3)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "invalid JSON"),
        (b"{", "invalid JSON"),
        (b"[]", "input should be an object"),
        (b'{"weight": 2}', "item_id: field required"),
        (b'{"item_id": "a", "wieght": 2}', "wieght: extra inputs are not permitted"),
        (b'{"item_id": "\xff"}', "invalid JSON"),
        (b'{"item_id": "a", "weight": "2"}', "weight: input should be a valid number, found '2'"),
        (b'{"item_id": "a", "weight": true}', "weight: input should be a valid number, found 'True'"),
    ],
)
def test_a_bad_body_is_refused_by_what_is_wrong_in_it(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        BodyParser(Wish)(body)


def test_a_role_may_do_what_lesser_roles_may() -> None:
    require(Principal("ops", "admin"), "read")
    require(Principal("app", "write"), "write")
    with pytest.raises(ForbiddenError, match="needs a key of role admin; 'app' has role write"):
        require(Principal("app", "write"), "admin")
