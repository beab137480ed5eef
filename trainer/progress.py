"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

from collections.abc import Iterable, Iterator, Sized
from math import isfinite
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import track as rich_track

SECONDS_BETWEEN_LINES = 10.0

T = TypeVar("T")


def track(
    iterable: Iterable[T], description: str, total: int | None = None, *, console: Console | None = None
) -> Iterator[T]:
    """Yield the items of `iterable` and show the progress on standard error.

    `total` is needed only where `iterable` has no length. Off a terminal, work that ends within
    SECONDS_BETWEEN_LINES prints nothing.
    """
    console = console or Console(stderr=True)
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if console.is_terminal:
        return iter(rich_track(iterable, description, total=total, console=console, transient=True))
    return _with_plain_lines(iterable, description, total, console)


def print_status(line: str) -> None:
    """Print one line on standard error, beside the progress bars."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


def _with_plain_lines(iterable: Iterable[T], description: str, total: int | None, console: Console) -> Iterator[T]:
    started = last_line = monotonic()
    for done, value in enumerate(iterable, start=1):
        yield value
        now = monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            share = f"{done:,} of {total:,} ({done / total:.0%})" if total else f"{done:,}"
            left = f", {time_left(now - started, done, total)}" if total else ""
            console.print(f"{description}: {share} after {now - started:.0f} s{left}", highlight=False, soft_wrap=True)


def time_left(seconds: float, done: float, total: float) -> str:
    """How long the rest takes at the speed until now: of `total`, `done` took so many seconds."""
    return f"about {spoken(seconds / done * (total - done))} left"


def spoken(seconds: float) -> str:
    """A duration as people say it: 40 s, 3 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class EpochProgress:
    """Shows a training run: epochs done, loss, best validation score so far."""

    def __init__(self, name: str, epochs: int, *, start: int = 0, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._name, self._epochs, self._done, self._start = name, epochs, start, start
        self._started = self._last_line = monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),  # at most: training may end early
            TextColumn("{task.fields[note]}"),
        )
        self._bar = RichProgress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task(name, total=epochs, completed=start, note="")

    def __enter__(self) -> "EpochProgress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def advance(self, *, loss: float, score: float, metric: str) -> None:
        """Show that one more epoch is done."""
        self._done += 1
        best = f"  best valid {metric} {score:.4f}" if isfinite(score) else ""  # infinite: nothing is held out
        note = f"loss {loss:.4f}{best}"
        self._bar.update(self._task, completed=self._done, note=note)
        if not self._console.is_terminal and monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = monotonic()
            of_this_run = self._done - self._start, self._epochs - self._start
            left = time_left(self._last_line - self._started, *of_this_run)
            line = f"{self._name}: epoch {self._done} of at most {self._epochs}, {left} at most, {note}"
            self._console.print(line, highlight=False, soft_wrap=True)
