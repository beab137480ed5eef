import json
import subprocess
import sys


def test_a_bundle_is_written_opened_and_served_and_each_step_is_measured(tmp_path):
    sizes = {"--items": 60, "--users": 50, "--seen": 3, "--size": 4, "--folder": tmp_path}
    options = [str(word) for option in sizes.items() for word in option]
    command = [sys.executable, "-m", "loadtests.large_bundle", "measure", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [next(iter(step)) for step in steps] == ["write", "open", "open", "start", "start"]
    for step in steps:
        ((name, found),) = step.items()
        assert min(found["rss_mb"] if name == "start" else found["peak_mb"], 30) == 30
    assert list(tmp_path.iterdir()) == []
