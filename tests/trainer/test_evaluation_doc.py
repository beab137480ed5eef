"""The page about evaluation is right: its commands run, and it names every figure and every setting."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner
from worlds import topics_dataset

from trainer.__main__ import app
from trainer.config import EvaluationSettings
from trainer.evaluator import METRICS
from trainer.expressiveness import FIGURES

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def documented_commands() -> list[str]:
    """The lines between ```sh and ``` of the page, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return "".join(blocks).replace("\\\n", " ").splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name, seed in (("shop", 0), ("toys", 1)):
        topics_dataset(tmp_path / "data" / name, seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_page_works(here):
    for command in documented_commands():
        arguments = shlex.split(command.removeprefix("python -m trainer "))
        # The page's runs train to the end; a few epochs show as well that the commands work.
        quick = [] if arguments[0] == "evaluate" else ["--set", "training.epochs=2"]
        result = CliRunner().invoke(app, [*arguments, *quick])
        assert result.exit_code == 0, (command, result.output, result.exception)
    written = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert {"figures.csv", "users.parquet", "runs/quick/lightgcn/result.json"} <= written
    assert {
        f"runs/study/{name}" for name in ("comparison.md", "comparison.csv", "comparison.json", "tests.csv")
    } <= written
    assert "runs/study/toys/bpr/111/users.parquet" in written


def test_every_figure_and_every_setting_is_on_the_page():
    for metric in METRICS:
        assert f"`{metric}@k`" in PAGE, metric
    for figure in FIGURES:
        assert f"`{figure}`" in PAGE, figure
    for name, setting in EvaluationSettings.model_fields.items():
        assert f"`{name}`" in PAGE, name
        if name in ("cold_at_most", "tail_share", "bootstrap"):
            assert f"`{name}` ({setting.default})" in PAGE
