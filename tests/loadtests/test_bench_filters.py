import json
import subprocess
import sys

from loadtests.bench_filters import UNFILTERED, workloads


def test_every_filter_is_measured_beside_no_filter() -> None:
    command = [sys.executable, "-m", "loadtests.bench_filters", "--items", "300", "--seconds", "0.05", "--rounds", "1"]
    done = subprocess.run([*command, "--connections", "2"], capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout.splitlines()[-1])
    rows = {row["filter"]: row for row in found["rows"]}
    assert list(rows) == [one.name for one in workloads()]
    assert rows[UNFILTERED]["ratio"] == 1
    assert all(row["failed"] == 0 and row["ratio"] > 0 for row in rows.values())
