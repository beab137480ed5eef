"""The page on answers is right: every call on it is sent, and what it shows of the answer is in the answer."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import serving

from service.ranking.rules_file import read_rules

PAGE = (Path(__file__).parents[2] / "docs" / "answers.md").read_text()
EXAMPLES = re.findall(r"```http\n(\w+) (\S+)\n(.*?)```\n```json\n(.*?)```", PAGE, re.DOTALL)


def shown_in(part: Any, whole: Any) -> bool:
    """Whether everything that the page shows stands in the answer; numbers to their four decimals."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(shown_in(value, whole.get(name)) for name, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(shown_in, part, whole))
    if isinstance(part, float):
        return bool(whole == pytest.approx(part, abs=1e-4))
    return bool(part == whole)


@pytest.fixture(scope="module")
def client(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that logs impressions, without which nothing is explored, and counts none of them meanwhile."""
    folder = tmp_path_factory.mktemp("answers")
    with serving(registry=registry, data=folder, log_impressions=True, live_poll_s=600.0) as client:
        yield client


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example[0]} {example[1]}")
def test_an_example_is_answered_as_the_page_says(client: httpx.Client, example: tuple[str, str, str, str]) -> None:
    method, path, body, answer = example
    response = client.request(method, path, json=json.loads(body) if body else None)
    assert response.status_code == 200, response.text
    assert shown_in(json.loads(answer), response.json()), json.dumps(response.json(), indent=1)


def test_the_page_has_examples_and_every_kind_of_call(tmp_path: Path) -> None:
    assert PAGE.count("```http") == len(EXAMPLES) == 9
    (rules,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "rules.toml").write_text(rules)
    assert read_rules(tmp_path / "rules.toml").entry_counts() == {"pin": 1, "boost": 0, "block": 1, "require": 0}
