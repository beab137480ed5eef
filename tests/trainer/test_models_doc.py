"""The page about the models is right: a row for each, its configuration, the answer that it shows."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner
from worlds import topics_dataset

from trainer.__main__ import app
from trainer.config import load_config, shipped_configs
from trainer.golden import MODELS, TOLERANCE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
MEASURED = (ROOT / "docs" / "measurements" / "models.md").read_text(encoding="utf-8")
OWN = [name for name in shipped_configs() if load_config(name).model.name == name and name != "popularity"]
POPULARITY = "popularity`, `popularity-decay"


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The table of the page whose first line begins so: first cell, without backticks, -> all cells."""
    table = page[page.index(heading) :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0].strip("`"): row for row in cells}


def test_every_model_has_a_row_and_the_readme_names_it():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(rows_of(PAGE, "| name | what an item")) == {*OWN, POPULARITY}
    assert all(f"`{name}`" in readme for name in OWN)


def test_every_golden_comparison_is_told_and_within_its_tolerance():
    told = rows_of(MEASURED, "|golden|")
    assert {name.split(",")[0] for name in told} == set(MODELS)
    assert all(float(row[1]) <= TOLERANCE for row in told.values())


@pytest.mark.parametrize("heading", ["|model|valid recall@20|", "|model|test recall@20|"])
def test_the_measured_tables_have_a_row_for_every_model(heading):
    assert {name.split(",")[0] for name in rows_of(MEASURED, heading)} >= {*OWN, "popularity"}


def test_every_model_has_a_section_of_equations():
    sections = PAGE[PAGE.index("## Equations") :].split("\n### ")[1:]
    assert {section.splitlines()[0].lower().replace("-", "") for section in sections} == {
        *(name.replace("-", "") for name in OWN), "graphs", "losses"
    }  # fmt: skip


def test_the_commands_that_compare_and_tune_are_known(tmp_path, monkeypatch):
    topics_dataset(tmp_path / "data" / "shop")
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^python -m trainer (?:compare|tune) .*shop.*$", PAGE, re.MULTILINE):
        arguments = command.split()[3:]
        refused = CliRunner().invoke(app, [*arguments, "--set", "training.no_such=1"])
        assert "unknown key training.no_such" in str(refused.exception), refused.output


def test_the_answer_that_the_page_shows_sums_to_its_score():
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (item,) = json.loads(shown)["items"]
    why = item["explanation"]
    assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
    past = sum(one["contribution"] for one in why["past_items"])
    assert past + why["other_past_items"] + why["user_own"] == pytest.approx(item["score"], abs=1e-4)
