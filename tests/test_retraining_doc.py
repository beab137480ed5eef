"""The page about retraining names every option, state and setting that there is, and none that there is not."""

import re
from pathlib import Path
from typing import get_args

from typer.testing import CliRunner

from service.retrain.job import State
from service.settings import Settings
from trainer.__main__ import app

PAGE = (Path(__file__).parents[1] / "docs" / "retraining.md").read_text(encoding="utf-8")


def test_the_settings_that_the_page_names_exist():
    named = set(re.findall(r"RECO_[A-Z_]+", PAGE))
    assert named <= {f"RECO_{field.upper()}" for field in Settings.model_fields}


def test_the_options_that_the_page_names_exist():
    known = CliRunner().invoke(app, ["retrain", "--help"], env={"COLUMNS": "200"}).output
    inputs = ("--events", "--items", "--images", "--cache", "--warm-start")
    for option in (*inputs, "--registry", "--out", "--positive", "--valid-share"):
        assert option in PAGE
        assert option in known


def test_every_state_of_a_job_is_on_the_page():
    assert all(state in PAGE for state in get_args(State))
