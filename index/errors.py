"""The error that invalid input raises; command lines print its message (index/cli.py)."""


class InputError(ValueError):
    """The input cannot be used. The message says what was found and what was expected."""
