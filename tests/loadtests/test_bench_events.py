import json
import subprocess
import sys


def test_single_events_and_batches_are_sent_and_counted() -> None:
    command = [sys.executable, "-m", "loadtests.bench_events", "--seconds", "0.1", "--connections", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [row["batch"] for row in found["rows"]] == [1, 100]
    for row in found["rows"]:
        assert row["failed"] == 0
        assert row["events_per_second"] > 0
        assert row["p50_ms"] <= row["p99_ms"]
