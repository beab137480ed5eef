"""Every odd value that JSON or a query can spell, in place of every part of every body and in every parameter."""

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import stand_in_trainer
from retrainings import retraining
from servers import publish, serving

from service.app import create_app
from service.settings import Settings

VALUES = (
    *("18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809"),
    *("9223372036854775808", "9007199254740993", "1e999", "-1e999", "1e308", "5e-324", "1e-999", "-0", "-0.0", "1.0"),
    *("0e99999999999", "01", "+1", ".5", "1.", "0x1", "NaN", "Infinity", "-Infinity", "null", "true", "false", "[]"),
    *("{}", "[[]]", "[{}]", "[null]", "[0]", "undefined", r'"\ud800"', r'"\udfff\ud800"', r'"\u0000"', r'"\u202e"'),
    *('"\U0001f600"', '""', '" "', r'"\x"', '"\x00"', "'a'", f'"{"a" * 20_000}"', "1" * 400, "1" * 5_000),
    *("0." + "1" * 5_000, "1e" + "9" * 5_000, "[" * 30 + "]" * 30, "[" * 300 + "]" * 300, '{"a":0,"a":1}', ""),
    *('{"a":' * 30 + "0" + "}" * 30, '{"a":' * 300 + "0" + "}" * 300),
)
LIST = {
    "k": 2, "offset": 0, "category": ["lamp"], "require": ["material:oak"], "exclude": ["item-1"], "exclude_seen": True,
    "explain": True, "counterfactual": True, "diversity": 0.5, "diversity_by": "fused", "category_cap": 1, "seed": 1,
    "rules": {
        "pin": [{"item_id": "item-2", "position": 1}],
        "boost": [{"item_id": "item-3", "category": None, "attribute": None, "value": None, "by": 0.5}],
        "block": [{"attribute": "material", "value": "brass"}],
        "require": [{"category": "lamp"}, {"attribute": "material", "value": 1}],
    },
}  # fmt: skip
EVENT = {
    "event_id": "e", "user_id": "user-1", "item_id": "item-1", "kind": "impression", "value": 1.0, "timestamp": 1.0,
    "request_id": "r", "bundle": "b",
}  # fmt: skip
BODIES: tuple[tuple[str, Any], ...] = (
    ("/recommend", {"user_id": "user-1", "items": [{"item_id": "item-1", "weight": 1.0}], "liked": ["item-4"], **LIST}),
    ("/recommend", {"disliked": ["item-5"]}),
    ("/recommend/batch", {"user_ids": ["user-1"]}),
    ("/events", EVENT),
    ("/events", {"events": [EVENT]}),
    ("/events", [EVENT | {"kind": "click"}]),
)
PLACE = "in this place"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("odd")
    publish(folder / "registry")
    with serving(**retraining(stand_in_trainer.FAILS, folder / "registry"), watch_s=0) as client:
        yield client


def places(part: Any) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a body, itself included."""
    yield ()
    children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for step, child in children:
        yield from ((step, *rest) for rest in places(child))


def with_value(body: Any, path: tuple[Any, ...], value: str) -> bytes:
    """The body with this text in one place."""
    if not path:
        return value.encode()
    changed = copy.deepcopy(body)
    part = changed
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = PLACE
    return json.dumps(changed).replace(json.dumps(PLACE), value, 1).encode()


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_any_value_in_any_place_of_a_body_is_answered_or_refused(service: httpx.Client, path: str, body: Any) -> None:
    assert service.post(path, json=body).status_code in (200, 202), "the body itself is right"
    statuses = Counter[int]()
    for place in places(body):
        for value in VALUES:
            response = service.post(path, content=with_value(body, place, value))
            statuses[response.status_code] += 1
            assert response.status_code in (200, 202, 422), (place, value[:80], response.text)
            assert response.status_code != 422 or response.json()["detail"].isprintable()
    assert statuses[422]


def parameters() -> Iterator[tuple[str, str, str]]:
    """The method, the path and the name of every parameter of every operation."""
    for path, operations in create_app(Settings(registry=Path("none"))).openapi()["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield method.upper(), path, parameter["name"]


def test_any_value_of_any_parameter_is_answered_or_refused(service: httpx.Client) -> None:
    for method, path, name in parameters():
        for value in (*VALUES, "a:", ":a", "a:b", "%ff", "%00", "\x7f"):
            text = value if value.startswith("%") else quote(value[:600].encode(), safe="")
            target = path.replace(f"{{{name}}}", text or "%20") if f"{{{name}}}" in path else f"{path}?{name}={text}"
            response = service.request(method, target.replace("{user_id}", "user-1").replace("{item_id}", "item-1"))
            assert response.status_code < 500, (method, target, response.text)
