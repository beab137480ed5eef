"""How the rehearsal counts and judges; that it runs is shown by `make rehearsal`, which needs HAProxy."""

import json
import math
import os
import re
import subprocess
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
from loadtests.rehearsal.background_load import EVENT, READ, BackgroundLoad, LoadRequest, LoadResponse, requests
from loadtests.rehearsal.controlled_process import ControlledProcess
from loadtests.rehearsal.deployment import HAPROXY_CFG, NAMES
from loadtests.rehearsal.fault_runner import Outcome, compare_with_log
from loadtests.rehearsal.faults import FAULTS
from loadtests.rehearsal.impact import CallerImpact, FaultLimits, FaultTimes, broken, felt_for, p99, seen
from loadtests.rehearsal.outcome_report import HEADINGS, cells, check_writable, markdown, write
from loadtests.workloads import raw

CALM = CallerImpact(100, 0, 0, (1.0, 2.0, 1.0), (5.0, 5.0, 5.0), whole_s=2.0, felt_s=0.0)


def read(due: float, *, status: int = 200, seconds: float = 0.01) -> LoadResponse:
    return LoadResponse(due, READ, status, seconds, "")


def event(due: float, event_id: str, *, status: int = 202) -> LoadResponse:
    return LoadResponse(due, EVENT, status, 0.5, event_id)


def test_answers_count_to_the_phase_in_which_they_were_due() -> None:
    answers = [read(0.5, status=500), read(1, seconds=0.1), read(3, seconds=0.2), read(6, seconds=0.3), read(9)]
    found = seen(answers, FaultTimes(watched=1, begun=2, mended=4, whole=5, ended=8))
    assert found.requests == 3  # neither what came before nor what came after
    assert found.p99_ms == pytest.approx((100, 200, 300))
    assert found.failures == 0
    assert found.whole_s == 1  # from when the cause was gone


def test_an_event_that_is_refused_for_now_is_no_failure_and_any_other_bad_answer_is() -> None:
    answers = [event(1, "a", status=503), event(1, "b", status=500), read(1, status=503), read(1, status=0)]
    found = seen(answers, FaultTimes(0, 2, 2, 3, 4))
    assert (found.refusals, found.failures) == (1, 3)


def test_p99_is_of_good_answers_of_one_kind_and_of_none_where_there_are_none() -> None:
    answers = [*(read(0, seconds=i / 1e3) for i in range(1, 101)), read(0, status=500, seconds=9), event(0, "a")]
    assert p99(answers, READ) == pytest.approx(99)
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
def test_callers_feel_a_fault_until_the_last_half_second_with_a_bad_answer(
    bad: list[LoadResponse], expected: float
) -> None:
    calm = [read(10 + i / 20) for i in range(100)]
    assert felt_for([*calm, *bad], begun=10, slow_s=0.25) == expected


def test_a_slow_answer_among_many_is_not_yet_felt() -> None:
    answers = [*(read(10 + i / 40) for i in range(20)), read(10.1, seconds=3.0)]
    assert felt_for(answers, begun=10, slow_s=0.25) == 0


def test_each_broken_limit_is_named_with_what_was_found() -> None:
    assert broken(CALM, FaultLimits(), lost=0, doubled=0) == []
    bad = CallerImpact(100, 3, 2, (1.0, 2.0, 1.0), (5.0, 5.0, 5.0), whole_s=31.0, felt_s=4.0)
    assert broken(bad, FaultLimits(), lost=1, doubled=1) == [
        "failed requests: 3, expected at most 0",
        "refused events: 2, expected at most 0",
        "seconds until whole: 31, expected at most 30",
        "seconds that callers felt it: 4, expected at most 3",
        "acknowledged events lost: 1, expected at most 0",
        "events doubled: 1, expected at most 0",
    ]


def test_no_fault_may_fail_a_request_and_only_a_full_disk_may_refuse_events() -> None:
    assert {fault.limits.failures for fault in FAULTS} == {0}
    assert [fault.name for fault in FAULTS if fault.limits.refusals] == ["disk-full"]


def test_the_page_tells_of_every_fault_and_of_no_other() -> None:
    page = (HAPROXY_CFG.parents[2] / "docs" / "rehearsal.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE) == [fault.name for fault in FAULTS]


def test_acknowledged_events_that_the_log_lacks_are_lost_and_those_it_has_twice_are_doubled() -> None:
    load = BackgroundLoad(0, 1, iter(()), np.random.default_rng(0))
    load.answers += [event(0, "kept"), event(0, "lost"), event(0, "refused", status=503), event(0, "twice")]
    assert compare_with_log(load, ["kept", "twice", "twice", "from before"]) == (1, 1)


def outcome(*broken: str, seen: CallerImpact = CALM) -> Outcome:
    return Outcome("freeze", seen, 7, 0, 0, 0, ("RecoSheds",), ("RecoReplicaDown",), tuple(broken))


def test_a_row_shows_alerts_that_fired_and_in_brackets_those_that_would_have() -> None:
    row = dict(zip(HEADINGS, cells(outcome()), strict=True))
    assert row["p99 ms before / during / after"] == "1 / 2 / 1"
    assert row["alerts (would fire)"] == "RecoSheds\n(RecoReplicaDown)"
    assert (row["retried"], row["verdict"]) == ("7", "kept")
    assert cells(outcome("failed requests: 3"))[-1] == "BROKEN"


def test_the_report_is_written_as_the_file_is_named(tmp_path: Path) -> None:
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


def test_the_load_has_reads_and_events_each_with_an_id_of_its_own() -> None:
    asked = requests("run", np.random.default_rng(0))
    drawn = [next(asked) for _ in range(2_000)]
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


def test_a_server_that_is_killed_under_load_is_seen_as_failures_and_felt_until_it_is_back(
    baseline: tuple[ControlledProcess, int],
) -> None:
    process, port = baseline
    asked = iter(lambda: LoadRequest(READ, raw(BASELINE_PATH)), None)
    with BackgroundLoad(port, 100, asked, np.random.default_rng(0)) as load:
        wait_until(lambda: any(one.good for one in load.answers))
        watched = time.perf_counter()
        time.sleep(0.5)
        begun, n_before = time.perf_counter(), len(load.answers)
        process.kill()
        wait_until(lambda: len(load.answers) > n_before + 20)
        process.start()
        wait_until(lambda: load.answers[-1].good)
        whole = time.perf_counter()
        time.sleep(1.0)
        load.settle()
    found = seen(load.answers, FaultTimes(watched, begun, begun, whole, time.perf_counter()))
    assert found.failures >= 20
    assert 0 < found.felt_s <= whole - begun + 0.5
    assert all(one.good for one in load.answers if one.due > whole)


def test_a_process_says_what_it_said_last_when_it_has_ended(tmp_path: Path) -> None:
    process = ControlledProcess("one", [sys.executable, "-c", "print('the port is taken')"], tmp_path / "log")
    process.start()
    wait_until(lambda: process.last_words() == "the port is taken")
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


def test_a_full_disk_is_an_error_to_a_process_and_not_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = ControlledProcess("writer", [sys.executable, "-c", WRITER], tmp_path / "log")
    process.start()
    process.limit_files(1_000)
    (tmp_path / "go").touch()
    wait_until(lambda: process.last_words() == "File too large")
    process.stop()


def test_the_proxy_knows_the_replicas_by_the_names_that_we_wait_for() -> None:
    named = re.findall(r'server (\w+) "\$\{RECO_REPLICA_\d\}"', HAPROXY_CFG.read_text())
    assert tuple(named) == NAMES


def test_an_unknown_fault_is_one_line_that_names_those_there_are() -> None:
    command = [sys.executable, "-m", "loadtests.rehearsal", "--only", "earthquake"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: --only earthquake: expected one of {', '.join(fault.name for fault in FAULTS)}\n"
