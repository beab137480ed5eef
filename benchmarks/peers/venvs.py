"""A virtual environment for each peer, since their requirements conflict with ours and with each other."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import COMMON, Peer
from index.errors import InputError

INSTALLED = "installed.txt"  # in an environment: its requirements


def programs(peer: Peer, venvs: Path) -> Path:
    """Return the `bin` folder of the peer's environment; make it where it is missing or its requirements changed.

    InputError with pip's message where a package cannot be installed.
    """
    folder, requirements = venvs / peer.name, "\n".join([*COMMON, *peer.packages])
    made = folder / INSTALLED
    if not made.exists() or made.read_text(encoding="utf-8") != requirements:
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *COMMON, *peer.packages)
        made.write_text(requirements, encoding="utf-8")
    return (folder / "bin").absolute()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"it could not be installed: {(errors or ['no output'])[-1]}")
