"""The sessions in the README and in docs/living-catalogue.md, which goes on where that one ends.

Every line is run, in one shell, and answers as it is shown.
"""

import json
import re

import pytest
from shown_session import as_shown, run, steps

README, CATALOGUE = steps("README.md"), steps("docs/living-catalogue.md")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each command of both sessions wrote to standard output."""
    return run([command for command, _ in (*README, *CATALOGUE)], tmp_path_factory.mktemp("session"))


def test_every_command_answers_as_it_is_shown(outputs: list[str]) -> None:
    assert len(README) > 10 < len(CATALOGUE)
    assert len(outputs) == len(README) + len(CATALOGUE)
    for (command, shown), output in zip((*README, *CATALOGUE), outputs, strict=True):
        if shown:
            assert re.fullmatch(as_shown(shown), output.strip(), re.DOTALL), f"{command}{output}"


def test_the_readme_ends_on_the_bundle_that_it_began_with(outputs: list[str]) -> None:
    of_ann = [json.loads(out) for (command, _), out in zip(README, outputs, strict=False) if "/ann" in command]
    unknown, told, retrained, back = of_ann
    assert unknown["bundle"] == told["bundle"] == back["bundle"] != retrained["bundle"]
    assert unknown["items"] != told["items"]


def test_a_new_product_is_explained_by_its_words_and_looks_alone(outputs: list[str]) -> None:
    of_catalogue = zip(CATALOGUE, outputs[len(README) :], strict=True)
    ((item, *_),) = [json.loads(out)["items"] for (command, _), out in of_catalogue if "explain" in command]
    parts = item["explanation"]["parts"]
    assert parts["text"] > 0 < parts["image"]
    assert parts["id"] == 0
    assert sum(parts.values()) == pytest.approx(item["score"], abs=1e-4)
