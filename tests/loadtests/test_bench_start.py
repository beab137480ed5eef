import json
import subprocess
import sys


def test_a_start_is_measured_until_it_is_ready():
    command = [sys.executable, "-m", "loadtests.bench_start", "--items", "50", "--users", "40", "--seen", "3",
               "--size", "4", "--starts", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert min(found["cpu_s"], found["ready_s"]) > 0
    assert found["rss_mb"] > 20
