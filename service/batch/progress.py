"""Shows how far a run is and how long it still takes: a bar on a terminal, a line now and then in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0
STEADY_S = 3_600.0  # the speed is that of so long a time: parts come at intervals


@contextmanager
def shown_progress(console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """A function that shows on standard error how many users are done, of how many."""
    console = console or Console(stderr=True)
    columns = TextColumn("users"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    started, first, last_line = monotonic(), -1, monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=STEADY_S) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int) -> None:
            nonlocal first, last_line
            first = done if first < 0 else first
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and monotonic() - last_line >= SECONDS_BETWEEN_LINES and done > first:
                last_line = monotonic()
                left = (total - done) * (last_line - started) / (done - first)
                console.print(f"{done:,} of {total:,} users, {left:,.0f} s left", highlight=False, soft_wrap=True)

        yield show
