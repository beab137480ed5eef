"""Locust against a real service. No test depends on its speed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from index.errors import InputError
from loadtests.loadtest import Target, app, own_service
from loadtests.random_bundle import RandomBundleSizes

GENEROUS = ["--p99-recommend-ms", "20000", "--p99-similar-ms", "20000", "--p99-event-ms", "20000"]
SHORT = ["--seconds", "2", "--think-s", "0.005"]  # enough visits that every route gets requests, on a slow host too


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with own_service(RandomBundleSizes(n_items=300, n_users=500, seen_per_user=5, embedding_size=16)) as target:
        yield target


def loadtest(target: Target, report: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.loadtest", "--host", target.host, "--report", str(report), *SHORT]
    environment = os.environ | dict(target.variables)
    return subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_smoke_with_two_workers_holds_generous_limits_and_its_clicks_are_attributed(target: Target, tmp_path: Path):
    report = tmp_path / "new folder" / "report.html"
    done = loadtest(target, report, "--workers", "2", *GENEROUS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("all limits hold: ") == 1, "from the master only"
    key = target.variables["RECO_LOAD_API_KEY"]
    assert "/recommend/{user_id}" in report.read_text(encoding="utf-8")
    assert key not in report.read_text(encoding="utf-8")
    found = httpx.get(f"{target.host}/quality", headers={"Authorization": f"Bearer {key}"}).raise_for_status().json()
    clicks, sent = found["overall"]["clicks"], found["overall"]["events"]["click"]
    assert 0.9 * sent < clicks <= sent, "a second click on the same item of a response does not count"


def test_failed_requests_and_slow_ones_break_limits_and_fail_the_run(target: Target, tmp_path: Path):
    unknown_key = Target(target.host, {**target.variables, "RECO_LOAD_API_KEY": "reco_unknown"})
    done = loadtest(unknown_key, tmp_path / "report.html", *GENEROUS, "--p99-recommend-ms", "0.001", "--seconds", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "requests failed, 100.00%: 99.90% above the 0.10% allowed" in done.stderr
    (line,) = (
        one for one in done.stderr.splitlines() if one.startswith("limit broken: p99 of /recommend/{user_id} was ")
    )
    assert line.endswith(" ms above the 0.001 ms allowed")


def test_an_empty_file_of_users_is_refused_before_the_run(tmp_path: Path):
    empty = tmp_path / "users.txt"
    empty.write_text("\n\n")
    done = loadtest(Target("http://127.0.0.1:9", {}), tmp_path / "report.html", "--user-ids", str(empty))
    assert done.returncode == 2
    assert f"error: --user-ids {empty} is empty; expected one user id a line\n" in done.stderr
    assert "Shape test starting" not in done.stderr


def test_an_unknown_profile_is_refused_before_anything_starts():
    refused = CliRunner().invoke(app, ["--profile", "spikes"]).exception
    assert isinstance(refused, InputError)
    assert str(refused) == "profile 'spikes'; expected one of smoke, steady, spike, soak"
