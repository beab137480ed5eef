"""The session in the README: every line of it is run, in one shell, and answers as it is shown."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.processes import free_port

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
(SESSION,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
PATIENCE_S = 400  # a busy machine; on a quiet one a minute is enough
MARK = "=== end of a command"


def steps() -> list[tuple[str, str]]:
    """The commands, and what is shown of their output; nothing where nothing is said of it."""
    parts = re.split(r"^\$ ", SESSION, flags=re.MULTILINE)[1:]
    found = [re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", part, re.DOTALL) for part in parts]
    return [(one[1], one[2].strip()) for one in found if one is not None]


def as_shown(shown: str) -> str:
    """A pattern of output; `…` stands for anything."""
    return r".*?".join(re.escape(part) for part in shown.split("…"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each command wrote to standard output."""
    folder, port = tmp_path_factory.mktemp("session"), free_port()
    script = "".join(f"{command}echo; echo '{MARK}'\n" for command, _ in steps())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `python` is the one that runs the tests
    environment = {**os.environ, "PATH": path, "RECO_PORT": str(port)}
    with (folder / "out").open("w") as out, (folder / "errors").open("w") as errors:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script.replace("localhost:8000", f"localhost:{port}")],
            cwd=folder, env=environment, stdout=out, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            status = shell.wait(PATIENCE_S)
        finally:
            os.killpg(shell.pid, signal.SIGKILL) if shell.poll() is None else None
    told = (folder / "out").read_text()
    assert status == 0, told + (folder / "errors").read_text()
    return told.split(MARK)[:-1]


def test_every_command_of_the_session_answers_as_the_readme_shows(outputs: list[str]) -> None:
    assert len(outputs) == len(steps()) > 10
    for (command, shown), output in zip(steps(), outputs, strict=True):
        if shown:
            assert re.fullmatch(as_shown(shown), output.strip(), re.DOTALL), f"{command}{output}"


def test_the_session_ends_on_the_bundle_that_it_began_with(outputs: list[str]) -> None:
    of_ann = [json.loads(out) for (command, _), out in zip(steps(), outputs, strict=True) if "/ann" in command]
    unknown, told, retrained, back = of_ann
    assert unknown["bundle"] == told["bundle"] == back["bundle"] != retrained["bundle"]
    assert unknown["items"] != told["items"]
