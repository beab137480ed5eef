import json

import forkserver


def test_cheap_requests_are_measured_alone_and_beside_the_largest_that_is_accepted() -> None:
    done = forkserver.run(
        "service", "--items", "1000", "--users", "1000", "--size", "4", "--seconds", "0.1", "--kind", "popular",
        module="loadtests.fairness",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone, beside = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert (alone["beside"], alone["failed"], beside["failed"]) == ("alone", 0, 0)
    assert beside["beside"] == "popular (k 500)"
    for row in (alone, beside):
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert 0 < row["cpu_p50_ms"] <= row["cpu_p99_ms"]
