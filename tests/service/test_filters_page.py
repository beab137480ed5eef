"""The page on filters is right: every request on it is sent, and every filter in its tables is evaluated."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import CATEGORIES, make_content
from servers import publish, serving

from service.ranking.filters import building, parsing, selection_cache, text_columns
from service.ranking.filters.messages import OPERATORS, TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()
EXAMPLES = re.findall(r"```http\n(\w+) ([^\n]+)\n(.*?)```\n```json\n(.*?)```", PAGE, re.DOTALL)
FILTERS = re.findall(r"^\| `(?:` )?(.+?)(?: `)?` \| (?:[^|]+) \|$", PAGE.partition("## Types")[0], re.MULTILINE)
COLOURS = ("red", "blue", "dark blue", "white")


def item(row: int) -> dict[str, Any]:
    attributes = {
        "price": row * 2.5,
        "colour": COLOURS[row % 3],
        "tags": ["sale"] if row % 4 == 0 else ["new"],
        "available": row % 5 > 0,
        "released": f"2026-01-{1 + row % 28:02}",
        "net weight": row % 4,
    }
    return {"title": f"lamp no. {row}", "category": CATEGORIES[row % 4], "attributes": attributes, "image": None}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    registry = tmp_path_factory.mktemp("filters-page")
    publish(registry, make_content(items=[item(row) for row in range(40)]))
    with serving(registry=registry) as client:
        yield client


def shown_in(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(shown_in(value, whole.get(name)) for name, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(shown_in, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example[0]} {example[1]}")
def test_an_example_is_answered_as_the_page_says(client: httpx.Client, example: tuple[str, str, str, str]) -> None:
    method, path, body, answer = example
    response = client.request(method, path, json=json.loads(body) if body else None)
    assert response.status_code == (422 if "error" in json.loads(answer) else 200), response.text
    assert shown_in(json.loads(answer), response.json()), json.dumps(response.json(), indent=1)


def test_every_filter_of_the_table_is_one(client: httpx.Client) -> None:
    assert len(FILTERS) == 15
    for chosen in FILTERS:
        response = client.get("/popular", params={"filter": chosen})
        assert response.status_code == 200, response.text


def test_the_table_of_types_has_all_operators() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| `([^`]+)` \| [^|]+ \|$", PAGE, re.MULTILINE))
    held = {kind: " ".join(one for one in OPERATORS if one in operators) for kind, (_, operators) in TYPES.items()}
    assert rows == {kind: held[kind] for kind in ("number", "time", "boolean", "string", "list")}


def test_the_limits_are_those_of_the_code() -> None:
    limits = (
        f"{parsing.MAX_CHARS:,} characters, {parsing.MOST_TERMS} comparisons and values, {parsing.DEEPEST} parentheses",
        f"{building.MOST_TEXT_COLUMNS} attributes of texts and lists, and {building.MOST_NUMBER_COLUMNS} of numbers",
        f"{text_columns.LONGEST_VALUE} characters, of which an attribute has at most {text_columns.MOST_VALUES:,}",
        f"{text_columns.MOST_OF_ONE_ITEM} values of one list",
        f"are cached ({selection_cache.CACHED_BYTES >> 20} MB)",
    )
    for limit in limits:
        assert limit in PAGE
