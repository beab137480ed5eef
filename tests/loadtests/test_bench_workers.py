import json

import forkserver
import pytest

from loadtests.bench_workers import WorkersRound, compared


def test_two_workers_are_measured_beside_one() -> None:
    done = forkserver.run(
        "service", "--items", "50", "--users", "20", "--size", "4", "--seconds", "0.1", "--rounds", "1",
        "--row", "recommend", module="loadtests.bench_workers",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert (one["workers"], one["faster"], one["by_cpu"]) == (1, 1, 1)
    assert two["workers"] == 2
    assert min(two["rate"], two["server_us"], two["client_us"]) > 0


def test_what_is_possible_leaves_the_load_generator_its_part_of_the_cores() -> None:
    alone, two = WorkersRound(1_000, 900, 100), WorkersRound(1_500, 1_000, 100)
    (_, row) = compared({("recommend", 1): [alone], ("recommend", 2): [two]}, n_cores=2)
    assert (row.faster, row.possible) == (1.5, 2.0)
    assert row.by_cpu == pytest.approx(1.8)
    (_, row) = compared({("recommend", 1): [WorkersRound(1_000, 900, 300)], ("recommend", 2): [two]}, n_cores=2)
    assert row.possible == pytest.approx(2e6 / 1_200 / 1_000)
