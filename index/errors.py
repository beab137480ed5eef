"""The one error that wrong input raises; command lines turn it into a sentence (index/cli.py)."""


class InputError(ValueError):
    """What was handed in cannot be used. The message says what was found and what was expected."""
