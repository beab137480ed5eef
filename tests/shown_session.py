"""Sessions that documents show: their commands run in one shell, and what each wrote."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from deploy.processes import free_port

ROOT = Path(__file__).parents[1]
PATIENCE_S = 700  # a busy machine; on a quiet one two minutes are enough
MARK = "=== end of a command"


def steps(document: str) -> list[tuple[str, str]]:
    """The commands of a document's session, and what is shown of their output; nothing where nothing is said of it."""
    (session,) = re.findall(r"```console\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]
    found = [re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", part, re.DOTALL) for part in parts]
    return [(one[1], one[2].strip()) for one in found if one is not None]


def as_shown(shown: str) -> str:
    """A pattern of output; `…` stands for anything."""
    return r".*?".join(re.escape(part) for part in shown.split("…"))


def run(commands: list[str], folder: Path) -> list[str]:
    """What each command wrote to standard output. AssertionError where one failed."""
    port = free_port()
    script = "".join(f"{command}echo; echo '{MARK}'\n" for command in commands)
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
