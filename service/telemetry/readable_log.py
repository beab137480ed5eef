"""One log entry as a readable line, for a terminal; logs that programs read are JSON (logs.py)."""

from structlog.typing import EventDict, WrappedLogger

COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
END = "\x1b[0m"
FIRST = ("timestamp", "level", "event", "exception")


class ReadableLines:
    """A structlog renderer: time, level where it is not info, what happened, and the facts as name=value.

    Like the JSON, it escapes control characters and everything outside ASCII, so that no id can forge a line or control
    a terminal.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = COLOURS if colours else {}

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        level, time = str(event.get("level", "info")), str(event.get("timestamp", ""))[11:19]
        facts = (f"{_plain(name)}={_quoted(value)}" for name, value in event.items() if name not in FIRST)
        words = [time, *([] if level == "info" else [level]), _plain(event.get("event", "")), *facts]
        lines = str(event["exception"]).splitlines() if "exception" in event else []
        text = "\n".join([" ".join(words), *(f"    {_plain(line)}" for line in lines)])
        colour = self._colours.get(level)
        return f"{colour}{text}{END}" if colour else text


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _quoted(value: object) -> str:
    """In quotation marks where the value would not read as one word."""
    text = _plain(value)
    return f'"{text}"' if not text or " " in text else text
