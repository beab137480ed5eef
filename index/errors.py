"""The one error that wrong input raises, and the edge where command lines turn it into a sentence."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """What was handed in cannot be used. The message says what was found and what was expected."""


def run_cli(app: Callable[[], None]) -> None:
    """Run a command line; an InputError becomes one line on standard error and exit status 2."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
