"""Shared setup of the command lines: their appearance, and how an InputError is printed."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from index.auto.choice import AUTO, EXACT_NUMBERS, AutoLimits
from index.errors import InputError

COPIES = Path("~/.cache/anchorrec")
Copies = Annotated[Path, typer.Option(help="Folder for downloaded bundles of a bucket; no other process may use it.")]

Factory = Annotated[
    str, typer.Option(help=f"Search index: a FAISS factory string, or `{AUTO}`, the fastest by measurement.")
]
RecallFloor = Annotated[float, typer.Option(min=0, max=1, help=f"Least recall@20 of `{AUTO}`.")]
IndexMemory = Annotated[float, typer.Option(min=0, metavar="GIB", help=f"Most memory of an index of `{AUTO}`.")]
IndexSeconds = Annotated[float, typer.Option(min=0, help=f"Most time for `{AUTO}` to build and measure.")]
ExactBelow = Annotated[
    int | None,
    typer.Option(
        min=0,
        help=f"Number of items below which `{AUTO}` is Flat, which is exact. "
        f"[default: {EXACT_NUMBERS:,} divided by the dimensions]",
    ),
]
LIMITS = AutoLimits()


def command_line(help_text: str | None = None) -> typer.Typer:
    """An empty command line, with help when called without arguments and Markdown in its help texts."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=help_text is not None,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )


def run_cli(app: Callable[[], None]) -> None:
    """Run a command line; an InputError or a file's error becomes one line on standard error and exit status 2."""
    try:
        _refuse_other_bytes(sys.argv[1:])
        app()
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _refuse_other_bytes(arguments: Sequence[str]) -> None:
    """InputError where an argument is no UTF-8: as a name it could be written into no manifest or result."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"argument {argument!r} has bytes that are not UTF-8; rename the file, or use a UTF-8 terminal"
            ) from error
