"""The sessions in docs/first-session.md, docs/living-catalogue.md and docs/experiments.md.

Each goes on where the last one ends.
Every line is run, in one shell, and answers as it is shown; settings are searched for two seconds, not twenty.
"""

import json
import re

import pytest
from exported_encoders import put_encoders
from shown_session import as_shown, run, steps

FIRST, CATALOGUE, EXPERIMENT = map(steps, ("docs/first-session.md", "docs/living-catalogue.md", "docs/experiments.md"))
ALL = (*FIRST, *CATALOGUE, *EXPERIMENT)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each command of the sessions wrote to standard output."""
    folder = tmp_path_factory.mktemp("session")
    put_encoders(folder / "bundles", tmp_path_factory)
    return run([command.replace("--budget 20", "--budget 2") for command, _ in ALL], folder)


def test_every_command_answers_as_it_is_shown(outputs: list[str]) -> None:
    assert min(len(FIRST), len(CATALOGUE), len(EXPERIMENT)) > 10
    for (command, shown), output in zip(ALL, outputs, strict=True):
        if shown:
            assert re.fullmatch(as_shown(shown), output.strip(), re.DOTALL), f"{command}{output}"


def test_the_first_session_ends_on_the_bundle_that_it_began_with(outputs: list[str]) -> None:
    of_ann = [json.loads(out) for (command, _), out in zip(FIRST, outputs, strict=False) if "/ann" in command]
    unknown, told, retrained, back = of_ann
    assert unknown["bundle"] == told["bundle"] == back["bundle"] != retrained["bundle"]
    assert unknown["items"] != told["items"]


def test_a_new_product_is_explained_by_its_words_and_looks_alone(outputs: list[str]) -> None:
    of_catalogue = zip(CATALOGUE, outputs[len(FIRST) : len(FIRST) + len(CATALOGUE)], strict=True)
    ((item, *_),) = [json.loads(out)["items"] for (command, _), out in of_catalogue if "explain" in command]
    parts = item["explanation"]["parts"]
    assert parts["text"] > 0 < parts["image"]
    assert parts["id"] == 0
    assert sum(parts.values()) == pytest.approx(item["score"], abs=1e-4)


def test_users_fall_into_the_arms_by_weight_and_the_winner_serves_everybody(outputs: list[str]) -> None:
    of_experiment = list(zip((command for command, _ in EXPERIMENT), outputs[-len(EXPERIMENT) :], strict=True))
    (report,) = [json.loads(out) for command, out in of_experiment if "experiments/fresh  " in command]
    (end,) = [json.loads(out) for command, out in of_experiment if "/end" in command]
    users = {arm["name"]: arm["users"] for arm in report["arms"]}
    assert sum(users.values()) == 301  # and Ann
    assert 15 < users["candidate"] < 50
    assert sum(arm["clicks"] for arm in report["arms"]) == 75
    assert end["published"] == end["experiment"]["arms"][1]["bundle"]
