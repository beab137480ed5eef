import io

import pytest
from rich.console import Console

from trainer import progress
from trainer.progress import track


def lines_of(values, **options):
    console = Console(file=io.StringIO(), width=200, **options)
    assert list(track(values, "counting", console=console)) == list(values)
    return console.file.getvalue()


def test_short_work_prints_nothing_into_a_log():
    assert lines_of(range(5)) == ""


def test_long_work_prints_plain_lines_into_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert lines_of(range(2)).splitlines() == [
        "counting: 1 of 2 (50%) after 0 s",
        "counting: 2 of 2 (100%) after 0 s",
    ]
    assert lines_of(range(0)) == ""


def test_a_terminal_gets_a_bar():
    assert "counting" in lines_of(range(3), force_terminal=True)
