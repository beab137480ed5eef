"""The page on load tests: its options exist, its profiles are those of the code."""

import re
import subprocess
import sys
from pathlib import Path

import forkserver
import pytest

from loadtests.load_profiles import PROFILES

PAGE = (Path(__file__).parents[2] / "docs" / "load-testing.md").read_text(encoding="utf-8")
MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def help_of_all() -> str:
    """The help of the commands on the page, with long lines."""
    names = (
        "loadtests.loadtest",
        "loadtests.slo",
        "loadtests.bench_serve",
        "benchmarks.peers",
        "loadtests.soak",
        "loadtests.fairness",
    )
    environment = {"COLUMNS": "300", "TERM": "dumb"}
    locust = subprocess.run(  # it patches the libraries that it imports: not in a fork that has them already
        [sys.executable, "-m", "locust", "--help"], env=environment, capture_output=True, text=True, check=True
    )
    helps = [forkserver.run("service", "--help", env=environment, module=name) for name in names]
    assert [one.returncode for one in helps] == [0] * len(names)
    return " ".join([locust.stdout, *(one.stdout for one in helps)])


def test_every_option_on_the_page_exists(help_of_all: str):
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", PAGE))
    assert {"--p99-ms", "--workers", "--expect-workers"} <= options
    assert {option for option in options if not re.search(rf"{option}\b", help_of_all)} == set()


def test_the_table_of_profiles_is_the_code():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+ \| \d+) \|", PAGE, re.MULTILINE))
    assert rows == {name: f"{one.peak_users} | {one.seconds:g}" for name, one in PROFILES.items()}


def test_the_make_targets_on_the_page_exist():
    targets = set(re.findall(r"\bmake ([a-z-]+)", PAGE))
    assert {"loadtest", "slo"} <= targets
    assert {target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)} == set()
