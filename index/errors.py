"""The errors that invalid input raises; command lines print their messages (index/cli.py)."""


class InputError(ValueError):
    """The input cannot be used. The message says what was found and what was expected."""

    def __init__(self, message: str) -> None:
        # What a damaged file holds may be quoted: a lone surrogate could be neither printed nor sent.
        super().__init__(message.encode(errors="backslashreplace").decode())


class BundleError(InputError):
    """A bundle that must not be served: damaged, edited, or of another format. The message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))
