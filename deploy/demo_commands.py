"""Runs a command of a demo's step: quietly into the demo's log, or on the terminal; and shows the time that is left."""

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.text import Text

from index.errors import InputError

SHOWN_LINES = 15  # of the log, where a command fails


def run_module(module: str, *arguments: object, log: Path | None, read: bool = False) -> str:
    """Run `python -m MODULE ARGUMENTS`; return its standard output where that is to be read.

    log: what it writes is added there; None leaves it on the terminal. InputError where it fails.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    if log is None:
        done = subprocess.run(command, stdout=subprocess.PIPE if read else None, text=True, check=False)
        where = "as the lines above say"
    else:
        with log.open("a", encoding="utf-8") as file:
            print(f"\n$ python {' '.join(command[1:])}", file=file, flush=True)
            out = subprocess.PIPE if read else file
            done = subprocess.run(command, stdout=out, stderr=file, text=True, check=False)
        where = f"as the lines above say, the last of {log}"
    if done.returncode:
        if log is not None:
            print(last_lines(log), file=sys.stderr, end="")
        raise InputError(f"`python -m {module} {arguments[0]}` failed, {where}; the same command goes on from here")
    return done.stdout or ""


def last_lines(log: Path) -> str:
    """The end of the log."""
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=SHOWN_LINES))


@contextmanager
def time_left(console: Console, seconds: float, log: Path) -> Iterator[None]:
    """On a terminal, show how long a step takes already and how long it still will; nothing elsewhere.

    seconds: how long it usually takes; what takes longer is shown by the progress in its log.
    """
    if not console.is_terminal:
        yield
        return
    with console.status(_TimeLeft(seconds, log)):  # drawn again and again
        yield


class _TimeLeft:
    """The time since it was made, and what is left."""

    def __init__(self, seconds: float, log: Path) -> None:
        self._seconds, self._log, self._started = seconds, log, monotonic()

    def __rich__(self) -> Text:
        took = monotonic() - self._started
        left = self._seconds - took
        if left > 0:
            return Text(f"{took:.0f} s, about {left:.0f} s left")
        told = [line.strip() for line in last_lines(self._log).splitlines() if " left" in line]
        return Text("; ".join([f"{took:.0f} s, longer than usual", *told[-1:]]))
