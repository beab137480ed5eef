"""How the rehearsal counts and judges responses; `make rehearsal` runs it and needs HAProxy."""

import json
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from servers import wait_until

from deploy.processes import free_port
from index.errors import InputError
from loadtests.baseline_app import PATH as BASELINE_PATH
from loadtests.rehearsal.__main__ import chosen
from loadtests.rehearsal.background_load import EVENT, READ, BackgroundLoad, LoadRequest, LoadResponse, requests
from loadtests.rehearsal.controlled_process import ControlledProcess
from loadtests.rehearsal.deployment import HAPROXY_CFG, NAMES
from loadtests.rehearsal.fault_runner import Outcome, compare_with_log
from loadtests.rehearsal.faults import FAULTS
from loadtests.rehearsal.impact import CallerImpact, FaultLimits, FaultTimes, caller_impact, exceeded, felt_for, p99
from loadtests.rehearsal.outcome_report import HEADINGS, cells, check_writable, markdown, write
from loadtests.workloads import raw

CALM = CallerImpact(100, 0, 0, (1.0, 2.0, 1.0), (5.0, 5.0, 5.0), whole_s=2.0, felt_s=0.0)


def read(due: float, *, status: int = 200, seconds: float = 0.01) -> LoadResponse:
    return LoadResponse(due, READ, status, seconds, "")


def event(due: float, event_id: str, *, status: int = 202) -> LoadResponse:
    return LoadResponse(due, EVENT, status, 0.5, event_id)


def test_responses_count_in_the_phase_in_which_their_requests_were_due() -> None:
    responses = [read(0.5, status=500), read(1, seconds=0.1), read(3, seconds=0.2), read(6, seconds=0.3), read(9)]
    found = caller_impact(responses, FaultTimes(watched=1, begun=2, cause_removed=4, recovered=5, ended=8))
    assert found.requests == 3  # neither what came before nor what came after
    assert found.p99_ms == pytest.approx((100, 200, 300))
    assert found.failures == 0
    assert found.whole_s == 1  # from when the cause was gone


def test_an_event_refused_with_503_is_no_failure_and_any_other_error_is() -> None:
    responses = [event(1, "a", status=503), event(1, "b", status=500), read(1, status=503), read(1, status=0)]
    found = caller_impact(responses, FaultTimes(0, 2, 2, 3, 4))
    assert (found.refusals, found.failures) == (1, 3)


def test_p99_is_of_successful_responses_of_one_kind() -> None:
    responses = [*(read(0, seconds=i / 1e3) for i in range(1, 101)), read(0, status=500, seconds=9), event(0, "a")]
    assert p99(responses, READ) == pytest.approx(99)
    assert math.isnan(p99([], READ))


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], 0.0),
        ([read(10.2, status=0)], 0.5),
        ([read(10.2, status=0), read(12.7, status=502)], 3.0),
        ([event(11.1, "a", status=503)], 1.5),
        ([read(11.1, seconds=2.0) for _ in range(5)], 1.5),
    ],
)
def test_callers_notice_a_fault_until_the_last_half_second_with_a_bad_response(
    bad: list[LoadResponse], expected: float
) -> None:
    calm = [read(10 + i / 20) for i in range(100)]
    assert felt_for([*calm, *bad], begun=10, slow_s=0.25) == expected


def test_one_slow_response_among_many_has_no_impact() -> None:
    responses = [*(read(10 + i / 40) for i in range(20)), read(10.1, seconds=3.0)]
    assert felt_for(responses, begun=10, slow_s=0.25) == 0


def test_each_exceeded_limit_is_named_with_what_was_found() -> None:
    assert exceeded(CALM, FaultLimits(), lost=0, doubled=0) == []
    bad = CallerImpact(100, 3, 2, (1.0, 2.0, 1.0), (5.0, 5.0, 5.0), whole_s=31.0, felt_s=4.0)
    assert exceeded(bad, FaultLimits(), lost=1, doubled=1) == [
        "failed requests: 3, expected at most 0",
        "refused events: 2, expected at most 0",
        "seconds until recovery: 31, expected at most 30",
        "seconds of impact on callers: 4, expected at most 3",
        "acknowledged events lost: 1, expected at most 0",
        "events doubled: 1, expected at most 0",
    ]


def test_no_fault_may_fail_a_request_and_only_a_full_disk_may_refuse_events() -> None:
    assert {fault.limits.failures for fault in FAULTS} == {0}
    assert [fault.name for fault in FAULTS if fault.limits.refusals] == ["disk-full"]


def test_the_page_lists_exactly_the_faults() -> None:
    page = (HAPROXY_CFG.parents[2] / "docs" / "rehearsal.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE) == [fault.name for fault in FAULTS]


def test_acknowledged_events_missing_from_the_log_are_lost_and_repeated_ones_doubled() -> None:
    load = BackgroundLoad(0, 1, iter(()), np.random.default_rng(0))
    load.responses += [event(0, "kept"), event(0, "lost"), event(0, "refused", status=503), event(0, "twice")]
    assert compare_with_log(load, ["kept", "twice", "twice", "from before"]) == (1, 1)


def outcome(*broken: str, seen: CallerImpact = CALM) -> Outcome:
    return Outcome("freeze", seen, 7, 0, 0, 0, ("RecoSheds",), ("RecoReplicaDown",), tuple(broken))


def test_a_row_shows_firing_alerts_and_pending_ones_in_brackets() -> None:
    row = dict(zip(HEADINGS, cells(outcome()), strict=True))
    assert row["p99 ms before / during / after"] == "1 / 2 / 1"
    assert row["alerts (would fire)"] == "RecoSheds\n(RecoReplicaDown)"
    assert (row["retried"], row["verdict"]) == ("7", "kept")
    assert cells(outcome("failed requests: 3"))[-1] == "BROKEN"


def test_the_report_has_the_format_of_the_files_suffix(tmp_path: Path) -> None:
    outcomes = [outcome("failed requests: 3, expected at most 0")]
    write(tmp_path / "r.md", outcomes)
    assert (tmp_path / "r.md").read_text() == markdown(outcomes)
    assert "| RecoSheds, (RecoReplicaDown) |" in markdown(outcomes)
    assert "* freeze: failed requests: 3, expected at most 0" in markdown(outcomes)
    write(tmp_path / "r.json", outcomes)
    (found,) = json.loads((tmp_path / "r.json").read_bytes())
    assert (found["fault"], found["retries"], found["seen"]["requests"]) == ("freeze", 7, 100)


@pytest.mark.parametrize("name", ["r.txt", "nowhere/r.md"])
def test_a_report_that_could_not_be_written_is_refused_beforehand(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        check_writable(tmp_path / name)


def test_the_load_has_reads_and_events_with_distinct_ids() -> None:
    mix = requests("run", np.random.default_rng(0))
    drawn = [next(mix) for _ in range(2_000)]
    events = [one.event for one in drawn if one.event is not None]
    assert 0.05 < len(events) / len(drawn) < 0.11
    assert len({event["event_id"] for event in events}) == len(events)


@pytest.fixture
def baseline(tmp_path: Path) -> Iterator[tuple[ControlledProcess, int]]:
    port = free_port()
    command = [sys.executable, "-m", "loadtests.baseline_app"]
    process = ControlledProcess(
        "yardstick", command, tmp_path / "log", {**os.environ, "RECO_PORT": str(port), "RECO_REGISTRY": str(tmp_path)}
    )
    process.start()
    yield process, port
    process.kill()


def test_a_server_that_is_killed_under_load_causes_failures_until_it_is_back(
    baseline: tuple[ControlledProcess, int],
) -> None:
    process, port = baseline
    mix = iter(lambda: LoadRequest(READ, raw(BASELINE_PATH)), None)
    with BackgroundLoad(port, 100, mix, np.random.default_rng(0)) as load:
        wait_until(lambda: any(one.good for one in load.responses))
        watched = time.perf_counter()
        wait_until(lambda: len(load.responses) > 20)
        begun, n_before = time.perf_counter(), len(load.responses)
        process.kill()
        wait_until(lambda: len(load.responses) > n_before + 20)
        process.start()
        wait_until(lambda: load.responses[-1].good)
        whole = time.perf_counter()
        n_before = len(load.responses)
        wait_until(lambda: len(load.responses) > n_before + 20)
        load.wait_for_responses()
    found = caller_impact(load.responses, FaultTimes(watched, begun, begun, whole, time.perf_counter()))
    assert found.failures >= 20
    assert found.felt_s > 0
    assert all(one.good for one in load.responses if one.due > whole)


def test_the_last_line_of_a_process_that_has_ended_is_reported(tmp_path: Path) -> None:
    process = ControlledProcess("one", [sys.executable, "-c", "print('the port is taken')"], tmp_path / "log")
    process.start()
    wait_until(lambda: process.last_line() == "the port is taken")
    process.stop()
    with pytest.raises(InputError, match="one has ended: the port is taken"):
        _ = process.pid


WRITER = """
import sys, time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.01)
try:
    Path("file").write_bytes(bytes(2_000))
except OSError as error:
    print(error.strerror)
"""


def test_a_file_size_limit_is_an_error_to_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = ControlledProcess("writer", [sys.executable, "-c", WRITER], tmp_path / "log")
    process.start()
    process.limit_files(1_000)
    (tmp_path / "go").touch()
    wait_until(lambda: process.last_line() == "File too large")
    process.stop()


def test_the_replicas_have_the_same_names_in_the_proxys_configuration() -> None:
    named = re.findall(r'server (\w+) "\$\{RECO_REPLICA_\d\}"', HAPROXY_CFG.read_text())
    assert tuple(named) == NAMES


def test_faults_are_chosen_by_name_and_the_error_for_an_unknown_one_names_all() -> None:
    assert [fault.name for fault in chosen(["freeze", "kill-9"])] == ["kill-9", "freeze"]
    with pytest.raises(InputError, match=f"--only earthquake: expected one of {', '.join(one.name for one in FAULTS)}"):
        chosen(["earthquake"])
