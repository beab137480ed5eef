"""Locust on a real service. How quick it is, no test says: only what is asked, and that limits fail a run."""

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
from loadtests.random_bundle import BundleSizes

PATIENT = ["--p99-recommend-ms", "20000", "--p99-similar-ms", "20000", "--p99-event-ms", "20000"]
SHORT = ["--seconds", "2", "--think-s", "0.02"]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with own_service(BundleSizes(n_items=300, n_users=500, seen_per_user=5, embedding_size=16)) as target:
        yield target


def loadtest(target: Target, report: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.loadtest", "--host", target.host, "--report", str(report), *SHORT]
    known = os.environ | dict(target.knows)
    return subprocess.run([*command, *options], env=known, capture_output=True, text=True, timeout=120, check=False)


def test_smoke_holds_patient_limits_writes_a_report_and_its_clicks_are_joined_to_answers(
    target: Target, tmp_path: Path
):
    report = tmp_path / "new folder" / "report.html"
    done = loadtest(target, report, *PATIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all limits hold: " in done.stderr
    key = target.knows["RECO_LOAD_API_KEY"]
    assert "/recommend/{user_id}" in report.read_text(encoding="utf-8")
    assert key not in report.read_text(encoding="utf-8")
    found = httpx.get(f"{target.host}/quality", headers={"Authorization": f"Bearer {key}"}).raise_for_status().json()
    assert 0 < found["overall"]["clicks"] == found["overall"]["events"]["click"]


def test_two_workers_and_a_limit_that_nothing_can_hold_fail_the_run_and_say_by_how_much(target: Target, tmp_path: Path):
    done = loadtest(target, tmp_path / "report.html", "--workers", "2", *PATIENT, "--p99-similar-ms", "0.001")
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [line for line in done.stderr.splitlines() if line.startswith("limit broken: ")]
    assert len(broken) == 1  # the master judges, the workers do not
    assert broken[0].startswith("limit broken: p99 of /similar/{item_id} was ")
    assert broken[0].endswith(" ms above the 0.001 ms allowed")


def test_a_key_that_is_not_known_makes_every_request_a_failure(target: Target, tmp_path: Path):
    unknown = Target(target.host, {**target.knows, "RECO_LOAD_API_KEY": "reco_nobody"})
    done = loadtest(unknown, tmp_path / "report.html", *PATIENT, "--seconds", "1")
    assert done.returncode == 1
    assert "requests failed, 100.00%: 99.90% above the 0.10% allowed" in done.stderr


def test_a_file_of_users_that_names_nobody_is_refused_before_anybody_comes(tmp_path: Path):
    nobody = tmp_path / "users.txt"
    nobody.write_text("\n\n")
    done = loadtest(Target("http://127.0.0.1:9", {}), tmp_path / "report.html", "--user-ids", str(nobody))
    assert done.returncode == 2
    assert f"error: --user-ids {nobody} names nobody; expected one user id a line\n" in done.stderr
    assert "Shape test starting" not in done.stderr


def test_a_profile_that_is_none_is_refused_before_anything_starts():
    refused = CliRunner().invoke(app, ["--profile", "spikes"]).exception
    assert isinstance(refused, InputError)
    assert str(refused) == "profile 'spikes'; expected one of smoke, steady, spike, soak"
