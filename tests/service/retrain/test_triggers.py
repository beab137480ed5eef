from datetime import UTC, datetime
from typing import Any

import pytest

from service.retrain.job import Job
from service.retrain.triggers import Triggers


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def last(created_at: float) -> Job:
    fields: dict[str, Any] = {"trigger": "call", "asked_by": "me", "events_position": 0, "launcher": "process"}
    return Job(id="a", created_at=created_at, state="failed", **fields)


NIGHTLY = Triggers(schedule="0 3 * * *")
BEGUN = at("2026-01-01 12:00")


def test_a_count_is_due_when_it_is_reached_and_not_before() -> None:
    triggers = Triggers(after_events=100)
    assert triggers.due(new_events=99, last=None, since=0, now=0) is None
    assert triggers.due(new_events=100, last=None, since=0, now=0) == "events"


@pytest.mark.parametrize(
    ("now", "job", "due"),
    [
        ("2026-01-02 02:59", None, None),
        ("2026-01-02 03:00", None, "schedule"),
        ("2026-01-02 03:00", "2026-01-02 03:00", None),  # it was done
        ("2026-01-02 03:00", "2026-01-02 02:30", "schedule"),  # by call, before
        ("2026-01-05 12:00", "2026-01-02 03:00", "schedule"),  # late, and once
        ("2026-01-05 12:00", "2026-01-05 11:59", None),
    ],
)
def test_a_schedule_is_due_once_after_each_of_its_times(now: str, job: str | None, due: str | None) -> None:
    before = None if job is None else last(at(job))
    assert NIGHTLY.due(new_events=0, last=before, since=BEGUN, now=at(now)) == due


def test_what_passed_while_no_service_ran_is_made_up_for_once() -> None:
    before = last(at("2025-12-01 03:00"))
    now = at("2026-01-01 12:01")
    assert NIGHTLY.due(new_events=0, last=before, since=BEGUN, now=now) == "schedule"
    assert NIGHTLY.due(new_events=0, last=last(now), since=BEGUN, now=now + 60) is None


def test_without_triggers_nothing_is_ever_due() -> None:
    assert not Triggers().configured
    assert Triggers().due(new_events=10**9, last=None, since=0, now=10**10) is None
