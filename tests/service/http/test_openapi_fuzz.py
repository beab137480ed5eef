"""What the OpenAPI document allows is sent to a real service, and what it forbids too: every answer is as it says.

`FUZZ_EXAMPLES` says how many calls of an operation are drawn at random, beside those that walk along the bounds of each
parameter; `make fuzz` draws thousands.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import stand_in_trainer
from bundles import CATEGORIES, write_small_bundle
from hypothesis import HealthCheck, settings
from retrainings import retraining
from schemathesis import checks
from schemathesis.generation import GenerationMode
from servers import publish, serving

from index.attribute_types import ATTRIBUTE_TYPES
from service.app import create_app
from service.http.security.admission import OPEN_PATHS
from service.http.security.keys import new_key
from service.settings import Settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
KNOWN = {
    "item_id": ["item-0", "item-1", "item-39"],
    "user_id": ["user-0", "user-7", "user-29"],
    "category": [*CATEGORIES],
    "attribute": ["material"],
    "require": ["material:oak"],
    "exclude": ["item-1"],
    "filter": ["material = oak and not category in [rug]", "colour = red", "created_at > now - 30d", "material < 3"],
    "kind": ["click", "dislike", "impression"],
    "value": [2**64, -(2**63) - 1, 10**300],
}
ODD_HEADERS = [  # none of which changes an answer
    ("X-Request-Id", "\u00ff" * 200),
    ("X-Request-Id", "9" * 500),
    ("traceparent", "00-" + "0" * 32 + "-" + "f" * 16 + "-zz"),
    ("If-None-Match", 'W/"18446744073709551616"'),
    ("Range", "bytes=18446744073709551616-"),
    ("Content-Type", "text/html; charset=utf-16"),
    ("Cookie", "=;" * 500),
    ("Idempotency-Key", "-1e999"),
    ("Accept", "\u00e9"),
    ("Upgrade", "websocket"),
]
UNTOLD = (  # reasons to refuse that no schema can tell: they depend on the bundle, or on several places of a body
    "no item can be chosen by",
    "filter: ",  # a language of its own
    "this bundle has",
    "appears twice",
    "the weights sum to",
    "the first one is the control",
    "name: expected text of the pattern",
    "is both pinned and blocked",
    "offset + k is",
    "this request costs",
    "the window begins at",
    "expected at most 31 days",
    "ahead of our clock",
    "value times quantity is beyond",
    *(f": found {kind}, expected " for kind in ATTRIBUTE_TYPES),  # the type that an earlier item's value has
    "should be a valid integer, found",  # 3.0, which JSON Schema takes for an integer
)
law = settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck), print_blob=True)


def document() -> dict[str, Any]:
    """What callers are told, made stricter: an answer has the fields that are told and no other."""
    told = create_app(Settings(registry=Path("nowhere"))).openapi()
    del told["paths"]["/items"]["post"]["requestBody"]["content"]["application/x-ndjson"]  # test_items.py draws lines
    for schema in told["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return told


def likely(part: Any) -> Any:
    """The same document, by which about half of the drawn ids and names are known to the service."""
    if isinstance(part, list):
        return [likely(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: likely(one) for name, one in part.items()}
    if found.get("in") in ("path", "query"):
        found["schema"] = drawn(found["name"], found["schema"])
    if isinstance(found.get("properties"), dict):
        found["properties"] = {name: drawn(name, one) for name, one in found["properties"].items()}
    return found


def drawn(name: str, kind: dict[str, Any]) -> dict[str, Any]:
    if name not in KNOWN:
        return kind
    if kind.get("type") == "array":
        return {**kind, "items": drawn(name, kind["items"])}
    takes = kind.get("type") in ("string", "number") or "anyOf" in kind
    return {"anyOf": [{"enum": KNOWN[name]}, kind]} if takes else kind


schema = schemathesis.openapi.from_dict(document())
refusals = schema.config.checks.negative_data_rejection
refusals.expected_statuses = [*refusals.expected_statuses, "413", "414", "431"]  # a wrong request may be too long, too
known = schemathesis.openapi.from_dict(likely(document()))
known.config.phases.coverage.enabled = False  # no walks along the bounds
known.config.generation.modes = [GenerationMode.POSITIVE]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {role: new_key(role, role) for role in ("read", "write", "admin")}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, keys: Any) -> Iterator[httpx.Client]:
    """A service with everything on: two bundles, a trainer that fails, keys."""
    folder = tmp_path_factory.mktemp("fuzzed")
    registry = folder / "registry"
    publish(registry)
    write_small_bundle(registry, after_seconds=86_400, seed=1)
    (folder / "keys.jsonl").write_text("\n".join(line for _, line in keys.values()))
    with serving(
        **retraining(stand_in_trainer.FAILS, registry), api_keys_file=folder / "keys.jsonl", watch_s=0
    ) as client:
        yield client


@schema.parametrize()
@law
def test_every_answer_is_as_documented(case: schemathesis.Case, fuzzed: httpx.Client, keys: Any) -> None:
    check(case, fuzzed, keys["admin"][0])


def check(case: schemathesis.Case, fuzzed: httpx.Client, key: str) -> None:
    """Send it; what comes has a documented status and shape, and is a refusal where the call is not as documented."""
    name, value = random.Random(repr(case.body)).choice(ODD_HEADERS)
    headers = {"X-API-Key": key, name: value.encode("latin-1")}
    response = case.call(base_url=str(fuzzed.base_url), headers=headers)
    told = response.text
    if response.headers["content-type"] == ["application/json"]:
        json.loads(told, object_pairs_hook=without_repetition)
    excluded = [checks.allow_header_conformance]  # it counts by template: GET /recommend/batch is of a user `batch`
    if response.status_code == 414 or (response.status_code == 422 and any(reason in told for reason in UNTOLD)):
        excluded += [checks.positive_data_acceptance, checks.negative_data_rejection]
    case.validate_response(response, excluded_checks=excluded)


@known.parametrize()
@law
def test_every_answer_about_what_is_known_is_as_documented(
    case: schemathesis.Case, fuzzed: httpx.Client, keys: Any
) -> None:
    check(case, fuzzed, keys["admin"][0])


@known.parametrize()
@settings(law, max_examples=3)
def test_who_has_no_key_or_too_small_a_role_is_refused_as_documented(
    case: schemathesis.Case, fuzzed: httpx.Client, keys: Any
) -> None:
    role = case.operation.definition.raw["x-role"]
    for headers, refused in [({}, 401), ({"X-API-Key": "guessed"}, 401), ({"X-API-Key": keys["read"][0]}, 403)]:
        response = case.call(base_url=str(fuzzed.base_url), headers=headers)
        case.validate_response(response, checks=[checks.status_code_conformance, checks.response_schema_conformance])
        same = case.method == case.operation.method.upper()  # others are tried too
        if same and not (role == "read" and refused == 403):
            assert response.status_code in ((200, 422) if case.path in OPEN_PATHS else (refused,)), response.text


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, no name of which stands twice."""
    found = dict(pairs)
    assert len(found) == len(pairs), [name for name, _ in pairs]
    return found
