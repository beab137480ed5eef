import io
import json
import logging

import pytest
import structlog
from servers import quiet_logs

from service.telemetry.logs import configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged(stream: io.StringIO, patch: pytest.MonkeyPatch, event: str, **facts: object) -> str:
    """What a fresh logger writes to this stream."""
    patch.setattr("sys.stderr", stream)
    with quiet_logs():
        configure_logging("info")
        structlog.get_logger().warning(event, **facts)
    return stream.getvalue()


def test_a_terminal_gets_a_line_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    line = logged(Terminal(), monkeypatch, "store failed", store="events", reason="disk full", n=3)
    assert line[8:] == ' warning store failed store=events reason="disk full" n=3\n'
    assert line[2] == line[5] == ":"


def test_anything_else_gets_json(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(logged(io.StringIO(), monkeypatch, "store failed", n=3))["n"] == 3


def test_no_value_can_forge_a_line_or_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    line = logged(Terminal(), monkeypatch, "bad\x1b[31m", user="x\n12:00:00 forged\u202e")
    assert (line.count("\n"), line.rstrip().isprintable(), line.isascii()) == (1, True, True)


def test_a_traceback_stands_below_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    line = logged(Terminal(), monkeypatch, "failed", exc_info=ValueError("no\x1b[31m such"))
    assert line.splitlines()[-1] == "    ValueError: no\\x1b[31m such"


def test_colours_mark_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert logged(Terminal(), monkeypatch, "store failed").startswith("\x1b[33m")


def test_messages_of_libraries_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr", stream := Terminal())
    with quiet_logs():
        configure_logging("info")
        logging.getLogger("somebody").error("lost %s", "it")
    assert stream.getvalue()[8:] == " error lost it\n"
