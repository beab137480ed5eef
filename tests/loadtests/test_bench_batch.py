import json
import subprocess
import sys


def test_lists_are_made_and_compared_and_the_last_line_is_json() -> None:
    sizes = ["--users", "60", "--items", "100", "--size", "8", "--k", "5", "--workers", "1"]
    command = [sys.executable, "-m", "loadtests.bench_batch", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["users"], found["k"], found["lists_checked"]) == (60, 5, 50)
    assert found["seconds_for_a_million_users"] > found["seconds"] > 0
