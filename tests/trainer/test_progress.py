import io

import pytest
from rich.console import Console

from trainer import progress
from trainer.progress import EpochProgress, time_left, track


def lines_of(values, **options):
    console = Console(file=io.StringIO(), width=200, **options)
    assert list(track(values, "counting", console=console)) == list(values)
    return console.file.getvalue()


def test_short_work_prints_nothing_into_a_log():
    assert lines_of(range(5)) == ""


def test_long_work_prints_plain_lines_into_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert lines_of(range(2)).splitlines() == [
        "counting: 1 of 2 (50%) after 0 s, about 0 s left",
        "counting: 2 of 2 (100%) after 0 s, about 0 s left",
    ]
    assert lines_of(range(0)) == ""


def test_a_terminal_gets_a_bar():
    assert "counting" in lines_of(range(3), force_terminal=True)


def test_the_time_left_follows_the_speed_until_now():
    assert time_left(10.0, 1, 4) == "about 30 s left"
    assert time_left(60.0, 1, 11) == "about 10 min left"
    assert time_left(3_600.0, 2, 6) == "about 2 h 0 min left"


def test_epochs_in_a_log_have_the_time_left_of_those_that_were_not_there_before(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 8.0, 8.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 1.0)
    console = Console(file=io.StringIO(), width=200)
    with EpochProgress("bpr", 14, start=10, console=console) as bar:
        bar.advance(loss=0.5, score=float("-inf"), metric="recall@20")
    assert console.file.getvalue().strip() == "bpr: epoch 11 of at most 14, about 24 s left at most, loss 0.5000"


def test_epochs_on_a_terminal_have_the_time_left():
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with EpochProgress("bpr", 2, console=console) as bar:
        bar.advance(loss=0.5, score=0.1, metric="recall@20")
    assert "-:--:--" in console.file.getvalue()  # nothing to reckon with yet
