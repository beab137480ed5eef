"""A virtual environment for each peer, made once: what peers need must not mix with what we need, nor among them."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import COMMON, Peer
from index.errors import InputError

INSTALLED = "installed.txt"  # in an environment: what it was made for


def programs(peer: Peer, venvs: Path) -> Path:
    """The folder of the programs of the peer's environment, made now where it is missing or was made for others.

    InputError with pip's last words where something cannot be installed.
    """
    folder, wanted = venvs / peer.name, "\n".join([*COMMON, *peer.packages])
    made = folder / INSTALLED
    if not made.exists() or made.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *COMMON, *peer.packages)
        made.write_text(wanted, encoding="utf-8")
    return (folder / "bin").absolute()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"it could not be installed: {(said or ['it said nothing'])[-1]}")
