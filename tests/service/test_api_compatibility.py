"""Who calls this version of the API can call every later one of the same number."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from api_shape import Shape, broken, shape_of

from service.app import API_VERSION, create_app
from service.settings import Settings

KEPT = Path(__file__).with_name(f"api_{API_VERSION}.json")


@pytest.fixture(scope="module")
def kept() -> Shape:
    return json.loads(KEPT.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_nothing_that_callers_of_this_version_rely_on_is_gone_or_another(kept: Shape) -> None:
    document = create_app(Settings(registry=Path("none"))).openapi()
    assert document["info"]["version"] == API_VERSION
    assert broken(kept, shape_of(document)) == [], "raise API_VERSION, and keep the new shape beside the old one"


RECOMMEND = "GET /recommend/{user_id}"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda now: now.pop(RECOMMEND), f"{RECOMMEND}: is gone"),
        (
            lambda now: now[RECOMMEND]["gives"].pop(".items[].score"),
            f"{RECOMMEND}: gives .items[].score as None, was number",
        ),
        (lambda now: now[RECOMMEND]["takes"].pop("k"), f"{RECOMMEND}: takes k no more"),
        (lambda now: now[RECOMMEND]["takes"].update(shop=True), f"{RECOMMEND}: needs shop"),
        (lambda now: now[RECOMMEND].update(status="203"), f"{RECOMMEND}: answers 203, was 200"),
    ],
)
def test_what_would_break_a_caller_is_named(kept: Shape, change: Any, found: str) -> None:
    now = copy.deepcopy(kept)
    change(now)
    assert broken(kept, now) == [found]


def test_more_than_before_breaks_nobody(kept: Shape) -> None:
    now = copy.deepcopy(kept)
    now["GET /new"] = {"takes": {}, "status": "200", "gives": {}}
    now[RECOMMEND]["takes"]["shop"] = False
    now[RECOMMEND]["gives"][".items[].price"] = "number"
    assert broken(kept, now) == []
