"""The page about training is right: its commands run, and it names every setting of the loop and every file."""

import re
import shlex
from pathlib import Path

import forkserver
import pytest
from typer.testing import CliRunner
from worlds import topics_dataset

from trainer.__main__ import app
from trainer.config import TrainingSettings

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
# The page's runs train to the end; a few epochs show as well that the commands work.
QUICK = ["--set", "training.epochs=2"]


def documented_commands() -> list[str]:
    """The lines between ```sh and ``` of the page."""
    return "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    topics_dataset(tmp_path / "data" / "shop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_of_the_page_works(here):
    for command in documented_commands():
        program, *arguments = shlex.split(command)
        if program == "torchrun":
            done = forkserver.run("trainer", *arguments, *QUICK, module="torch.distributed.run")
            assert done.returncode == 0, (command, done.stderr)
        else:
            quick = QUICK if "--config" in arguments else ["--budget", "1"]
            result = CliRunner().invoke(app, [*arguments[2:], *quick])
            assert result.exit_code == 0, (command, result.output, result.exception)
    runs = {folder.name for folder in (here / "runs").iterdir()}
    assert runs == {"shop", "anchorrec", "lightgcn", "on-cpu", "two", "bfloat16"}
    for run in runs:
        for file in (here / "runs" / run).iterdir():
            assert f"| `{file.name}` |" in PAGE, file


def test_every_setting_of_the_loop_is_on_the_page():
    for name in TrainingSettings.model_fields:
        assert f"`{name}`" in PAGE, name
