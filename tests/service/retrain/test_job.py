from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.retrain.job import Job, new_job_id

FIELDS: dict[str, Any] = {"trigger": "call", "asked_by": "me", "events_position": 0, "launcher": "process"}
NAMES = ("exporting", "training", "gating", "publishing")


@given(st.lists(st.sampled_from(NAMES), max_size=8), st.booleans())
def test_stages_follow_each_other_without_gap_and_only_the_last_is_open(names: list[Any], ends: bool) -> None:
    job = Job(id="a", created_at=0.0, **FIELDS)
    for now, name in enumerate(names):
        job = job.enter_stage("running", name, float(now))
    if ends:
        job = job.end("failed", 100.0, "why")
    for stage, following in zip(job.stages, job.stages[1:], strict=False):
        assert stage.ended_at == following.started_at
        assert stage.name != following.name
    assert [stage.ended_at is None for stage in job.stages[-1:]] == ([not ends] if names else [])
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_job_ids_sort_by_time_and_name_files_and_kubernetes_objects() -> None:
    ids = [new_job_id(float(second)) for second in range(1_000_000_000, 1_000_000_100)]
    assert ids == sorted(ids)
    assert len({new_job_id(0.0) for _ in range(100)}) == 100
    assert all(c.isdigit() or c in "abcdeft-" for job_id in ids for c in job_id)
