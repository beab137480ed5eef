import json
import os
from pathlib import Path
from typing import Any

import pytest
from asking import ids, post
from processes import run
from servers import counted, serving, wait_until

from index.bundle import Bundle
from index.errors import InputError
from service.ranking.rules_file import read_rules

TOML = """
[[pin]]
item_id = "item-38"
position = 1

[[block]]
category = "rug"

[[boost]]
attribute = "material"
value = "oak"
by = 0.5
"""


def written(path: Path, rules: dict[str, Any] | str) -> Path:
    """The file replaced in one step, as deployments do."""
    beside = path.with_suffix(".new")
    beside.write_text(rules if isinstance(rules, str) else json.dumps(rules))
    os.replace(beside, path)
    return path


def test_standing_rules_hold_for_every_answer_and_a_calls_rules_come_on_top(registry: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "rules.toml", TOML)
    with serving(registry=registry, rules_file=file) as client:
        for answer in (client.get("/recommend/user-3?k=40").json(), post(client, liked=["item-1"], k=40)):
            assert ids(answer)[0] == "item-38"
            assert "rug" not in {one["category"] for one in answer["items"]}
        explained = client.get("/recommend/user-3?k=5&explain=true").json()["items"]
        assert all("rules" in one["explanation"] for one in explained)
        pins = {"pin": [{"item_id": "item-0", "position": 1}], "block": [{"category": "lamp"}]}
        answer = post(client, user_id="user-3", k=40, rules=pins)
        assert ids(answer)[:2] == ["item-0", "item-38"]
        assert {one["category"] for one in answer["items"]} == {"chair", "table"}


def test_a_changed_file_holds_from_the_next_answer_and_a_wrong_one_changes_nothing(
    registry: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "rules.json", {"pin": [{"item_id": "item-39", "position": 1}]})
    with serving(registry=registry, rules_file=file, rules_reload_s=0.02) as client:

        def top() -> str:
            return str(client.get("/recommend/user-3?k=1").json()["items"][0]["item_id"])

        assert top() == "item-39"
        written(file, {"pin": [{"item_id": "item-38", "position": 1}]})
        wait_until(lambda: top() == "item-38")
        for i, wrong in enumerate(["{", {"pin": 3}, {"block": [{"attribute": "weight", "value": 3}]}], start=1):
            written(file, wrong)
            wait_until(lambda i=i: counted(client, 'reco_rules_reloads_total{outcome="refused"}') == i)
            assert top() == "item-38"
        file.unlink()
        wait_until(lambda: counted(client, 'reco_rules_reloads_total{outcome="refused"}') == 4)
        assert top() == "item-38"
        written(file, {})
        wait_until(lambda: top() != "item-38")
        assert counted(client, 'reco_rules_reloads_total{outcome="done"}') == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rules.yaml", "", r"rules.yaml: expected a file that ends in .json or .toml"),
        ("rules.json", "{", "rules.json: Expecting property name"),
        ("rules.toml", "[[pin]", "rules.toml: Expected"),
        (
            "rules.json",
            '{"pin": [{"item_id": "a", "position": 0}]}',
            "rules.json: pin.0.position: expected greater .*, found 0; docs",
        ),
        ("rules.json", "[]", r"rules.json: expected an object with named fields, found \[\]"),
        ("gone.json", None, "gone.json: .*No such file"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_name(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_rules(tmp_path / name)


def test_rules_that_name_what_a_bundle_has_not_are_refused_with_what_it_has(bundle: Bundle, tmp_path: Path) -> None:
    file = written(tmp_path / "rules.json", {"require": [{"attribute": "in_stock", "value": True}]})
    found = run("run", registry=bundle.path.parent, rules_file=file, port=0)
    assert found.returncode == 2
    assert found.stderr.strip().endswith("no item can be chosen by 'in_stock'; known are category, material")
    assert str(file) in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_a_file_nested_too_deeply_and_a_pipe_are_refused_as_any_wrong_file(tmp_path: Path, suffix: str) -> None:
    deep = tmp_path / f"deep{suffix}"
    deep.write_text(("x = " if suffix == ".toml" else "") + "[" * 100_000)
    with pytest.raises(InputError, match="deep"):
        read_rules(deep)
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="expected a file"):
        read_rules(pipe)
