"""Shows how far the building of an index is: a bar on a terminal, a line now and then in a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from index.auto.build import Tell

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def built_kinds(console: Console | None = None) -> Iterator[Tell]:
    """A `Tell` that shows its progress on standard error; off a terminal, builds of a few seconds print nothing."""
    console = console or Console(stderr=True)
    shown = TextColumn("building {task.description}"), BarColumn(), MofNCompleteColumn()
    columns = *shown, TimeElapsedColumn(), TimeRemainingColumn()
    started = last_line = monotonic()
    counted = 0, 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)

        def tell(what: str, done: int, most: int) -> None:
            nonlocal last_line, started, counted
            if done < counted[0] or most != counted[1]:  # other work begins
                started = monotonic()
            counted = done, most
            bar.update(task, description=what, completed=done, total=most, visible=True)
            if not console.is_terminal and monotonic() - last_line >= SECONDS_BETWEEN_LINES:
                last_line = monotonic()
                left = f", at most {(last_line - started) / done * (most - done):,.0f} s left" if done else ""
                console.print(
                    f"building {what} ({done:,} of at most {most:,} done{left})", highlight=False, soft_wrap=True
                )

        yield tell
