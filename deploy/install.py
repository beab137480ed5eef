"""Creates the project's environment: what trains and serves (`demo`), or that and the developers' tools (`dev`).

Run as a file by the Python that the environment shall have: `python3 deploy/install.py demo --venv .venv`. It imports
the standard library alone, and parses under older Pythons, so that they get a sentence and no traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[1]
PINS = Path("requirements/dev.lock")
EXTRAS = {"demo": "cpu,trainer,service,encode,demo", "dev": "cpu,trainer,service,dev"}
PACKAGES = {"demo": 100, "dev": 260}  # about how many each level installs: for the counter
NEEDED_MB = {"demo": 2_600, "dev": 4_200}  # of the folder at the end, and while Node is there, with a reserve
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
CUDA_MB = 6_000  # that PyPI's build of torch for Linux takes more
TAKES = """\
AnchorRec's demo, on two cores: packages that train and serve (1 to 3 minutes, 0.7 GB to download, 1.9 GB of disk),
then the console, a shop, models and a service (2 to 3 minutes, 0.2 GB). All of it lies in this folder.
Ctrl-C stops it; the same command goes on from there."""
LINE_S = 10.0  # between two lines of progress in a log
SHOWN_LINES = 15  # of pip's output, where it fails


class Problem(Exception):  # noqa: N818 - what the person who installs can mend
    """The environment cannot be made; the text says why and what to do."""


def main() -> int:
    """Make or complete the environment; 1 and a sentence where that is impossible."""
    parser = argparse.ArgumentParser(description="Create the environment of AnchorRec.")
    parser.add_argument("level", choices=sorted(EXTRAS))
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("--torch", default="torch", help="the requirement, such as torch==2.13.0")
    given = parser.parse_args()
    try:
        check_python()
        if given.level == "demo":
            print(TAKES, file=sys.stderr, flush=True)
        check_disk(ROOT, NEEDED_MB[given.level])
        install(given.level, given.venv, given.torch)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; `make {'demo' if given.level == 'demo' else 'install'}` goes on from here", file=sys.stderr)
        return 130
    return 0


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> None:
    """Problem where this Python is too old, or lacks the modules that make environments."""
    if version < PYTHON:
        found = ".".join(map(str, version))
        raise Problem(
            f"Python {found} is too old, expected {PYTHON[0]}.{PYTHON[1]} or newer; name another one: PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian has it in a package of its own
        import venv  # noqa: F401, PLC0415
    except ImportError:
        raise Problem("this Python cannot make environments; on Debian and Ubuntu: apt install python3-venv") from None


def check_disk(folder: Path, needed_mb: int) -> None:
    """Problem where the disk of this folder has less left."""
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < needed_mb:
        raise Problem(f"{needed_mb:,} MB of disk are needed and {folder} has {free_mb:,} MB left")


def install(level: str, venv: Path, torch: str) -> None:
    """Create the environment and install the packages that it lacks, with the versions of requirements/dev.lock."""
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    if not _installed_torch(venv):  # first, so that the other packages accept its build (CPU or CUDA)
        _install_torch(level, venv, torch)
    packages = ["--constraint", str(PINS), "--editable", f".[{EXTRAS[level]}]"]
    uv = shutil.which("uv")
    if uv and _run_uv(uv, venv, packages):
        return
    _run_pip(venv, packages, "packages", PACKAGES[level])


def _install_torch(level: str, venv: Path, torch: str) -> None:
    """`demo` takes a build for CPUs, wherever there is one; `dev` what pip is configured for."""
    if level == "dev":
        _run_pip(venv, [torch], "torch")
        return
    uv = shutil.which("uv")
    links = os.environ.get("PIP_FIND_LINKS")
    source = ["--find-links", links] if links else ["--torch-backend", "cpu"]
    if uv and _run_uv(uv, venv, [*source, torch]) and _is_for_cpu(_installed_torch(venv)):
        return
    options = ["--extra-index-url", CPU_TORCH, "--retries", "1"]
    found = _available_torch(venv, [*options, torch])
    if not _is_for_cpu(found):
        print(f"warning: {CPU_TORCH} has no torch for us now; PyPI's brings CUDA, {CUDA_MB:,} MB more", file=sys.stderr)
        check_disk(ROOT, NEEDED_MB[level] + CUDA_MB)
    _run_pip(venv, [*options, f"torch=={found}"], f"torch {found}")


def _is_for_cpu(version: str) -> bool:
    """Other systems' builds of torch are all without CUDA."""
    return version.endswith("+cpu") or bool(version and platform.system() != "Linux")


def _installed_torch(venv: Path) -> str:
    """The version; empty where there is none."""
    code = "import importlib.metadata as m; print(m.version('torch'))"
    found = subprocess.run([str(venv / "bin/python"), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _available_torch(venv: Path, arguments: list[str]) -> str:
    """The version that pip would install: of equal ones, the build for CPUs is the higher."""
    command = [str(venv / "bin/pip"), "install", "--quiet", "--dry-run", "--no-deps", "--report", "-", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"pip finds no {arguments[-1]}: {done.stderr.strip()[-600:]}")
    (found,) = json.loads(done.stdout)["install"]
    return str(found["metadata"]["version"])


def _run_uv(uv: str, venv: Path, arguments: list[str]) -> bool:
    """Whether uv installed them; where it did not, pip may, which has its own configuration."""
    if subprocess.run([uv, "pip", "install", "--python", str(venv / "bin/python"), *arguments], check=False).returncode:
        print("uv could not install this; trying pip", file=sys.stderr)
        return False
    return True


def _run_pip(venv: Path, arguments: list[str], what: str, expected: int = 0) -> None:
    """Install with pip and show how far it is. Modules are compiled when they are first imported, not now."""
    command = [str(venv / "bin/pip"), "install", "--no-compile", "--progress-bar", "off", *arguments]
    last: deque[str] = deque(maxlen=SHOWN_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        shown = _Counter(what, expected)
        for line in pip.stdout:
            last.append(line)
            shown.see(line)
        shown.end()
    if pip.returncode:
        print("".join(last), file=sys.stderr, end="")
        raise Problem("pip failed, as its last lines above say; the same command goes on from here")


class _Counter:
    """What pip is at: one line that changes on a terminal, a line now and then in a log."""

    def __init__(self, what: str, expected: int) -> None:
        self._what, self._expected, self._n = what, expected, 0
        self._started = self._line_at = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def see(self, line: str) -> None:
        """Count a package, by a line of pip."""
        words = line.split()
        if words[:1] == ["Collecting"]:
            self._n += 1
            of = f" of about {max(self._expected, self._n)}" if self._expected else ""
            self._show(f"{self._what}: {self._n}{of}, {words[1][:40]}")
        elif words[:2] == ["Installing", "collected"]:
            self._show(f"{self._what}: all are here, writing them")

    def _show(self, text: str) -> None:
        now = time.monotonic()
        if self._terminal:
            print(f"\r\033[K  {text}, {now - self._started:.0f} s", end="", file=sys.stderr, flush=True)
        elif now - self._line_at >= LINE_S:
            self._line_at = now
            print(f"  {text}, {now - self._started:.0f} s", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Say how long it took."""
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}  {self._what}: {time.monotonic() - self._started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
