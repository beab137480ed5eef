"""The benchmark over real processes. No test depends on the times that it measures."""

import json
import subprocess
import sys

import forkserver
import numpy as np
import pytest

from loadtests.bench_serve import chosen, counted, services_of
from loadtests.bench_servers import SETTINGS
from loadtests.benchmark import OpenRound
from loadtests.load_summary import LoadMeasurement
from loadtests.random_bundle import RandomBundleSizes
from loadtests.workloads import make_workloads

KINDS = ["empty", "recommend", "explain", "similar", "fold-in", "unknown user"]
KINDS += ["recommend, uncached", "explain, uncached", "similar, uncached", "fold-in, uncached", "100 seen, uncached"]
KINDS += ["recommend, bare", "fold-in, bare", "cold cache"]
SIZES = ["--items", "300", "--users", "5000", "--seen", "5", "--heavy", "100", "--size", "16"]
SMALL = ["--quick", *SIZES, "--connections", "8"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtests.bench_serve", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_quick_run_ends_with_one_line_of_figures_and_without_a_failure():
    done = run(*SMALL, "--load", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "open arrivals at 50% of what" in done.stdout
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["open_load"] == 0.5
    assert (record["n_items"], record["n_users"], record["k"]) == (300, 5000, 10)
    for figures in (record["closed"]["8"], record["open"]):
        assert list(figures) == KINDS
        for one in figures.values():
            assert one["failures"] == 0
            assert one["requests"] > 0
            assert one["requests_per_second"] > 0
            assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
    closed = record["closed"]["8"]
    assert all(one["to_yardstick"]["median"] > 0 for one in closed.values())
    assert closed["empty"]["to_yardstick"]["median"] == 1
    assert list(record["open_rounds"]) == KINDS
    for name, (once,) in record["open_rounds"].items():
        assert record["open"][name]["p99_of_rounds_ms"] == pytest.approx([once["p99_ms"]] * 3, abs=0.01)
        assert min(once["before"], once["after"]) > 0
        assert once["busy"] >= 0
    assert closed["recommend, bare"]["redis_hits"] > 0.5 > closed["cold cache"]["redis_hits"]
    assert closed["unknown user"]["redis_hits"] is None
    assert closed["recommend"]["kept"] > 0.9
    assert all(one["kept"] == 0 for name, one in closed.items() if name.endswith((", uncached", ", bare")))


def test_an_unknown_row_is_refused_before_anything_starts_and_the_error_names_the_known_ones():
    refused = forkserver.run("service", *SMALL, "--row", "recomend", module="loadtests.bench_serve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--row: 'recomend' is not known; expected some of empty; recommend; explain" in refused.stderr


def test_chosen_rows_are_measured_with_the_baseline_and_only_their_services_are_started():
    workloads = make_workloads(RandomBundleSizes(300, 500), k=10, n_requests=5, key="", rng=np.random.default_rng(0))
    rows = chosen(workloads, ["recommend, uncached"])
    assert [row.name for row in rows] == ["empty", "recommend, uncached"]
    assert services_of(rows) == ["uncached"]
    assert services_of(workloads) == list(SETTINGS)


def open_round(before: float, after: float, latency_s: float, busy: float = 0.7) -> OpenRound:
    return OpenRound(LoadMeasurement(np.array([latency_s]), 0, 1.0, busy, 0.1, 0, 0), 0.7, before, after)


def test_a_round_counts_where_the_machine_kept_its_speed():
    speeds = [(1_000, 1_100), (1_000, 1_300), (1_000, 800), (900, 1_000)]
    rounds = [open_round(before, after, latency) for latency, (before, after) in enumerate(speeds, start=1)]
    assert [one.latencies[0] for one in counted(rounds)] == [1, 4]


def test_a_round_whose_server_was_busy_for_another_share_does_not_count():
    rounds = [open_round(1_000, 1_000, latency, busy) for latency, busy in enumerate([0.55, 0.65, 0.7, 0.8, 0.9])]
    assert [one.latencies[0] for one in counted(rounds)] == [1, 2, 3]


def test_where_no_round_was_steady_all_count():
    rounds = [open_round(1_000, 2_000, 1.0), open_round(2_000, 1_000, 2.0)]
    assert [one.latencies[0] for one in counted(rounds)] == [1.0, 2.0]
