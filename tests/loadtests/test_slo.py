"""The search for the highest rate, with measurements computed from a known capacity instead of measured times."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import redis
from rich.progress import Progress

from loadtests.bench_servers import BASELINE, BenchServers
from loadtests.benchmark import Benchmark, Pace
from loadtests.load_summary import LoadMeasurement, LoadSummary, summarize
from loadtests.max_rate import RateBracket
from loadtests.slo import Objective, RateSearch, as_json, confirm, find_max_rates, show
from loadtests.workloads import Workload, workload

OBJECTIVE = Objective(100, 0.01, seconds=0.4, connections=64, tolerance=0.25, samples=100)
CAPACITY = 500.0


@dataclass(frozen=True)
class SimulatedBenchmark(Benchmark):
    """A benchmark of a queue: up to its capacity p99 is 10 ms, above it requests wait for a second."""

    capacity: float = CAPACITY
    rates: list[float] = field(default_factory=list)

    def open_once(
        self, workload: Workload, rate: float, seconds: float, connections: int, rng: np.random.Generator
    ) -> LoadMeasurement:
        self.rates.append(rate)
        n, latency = max(1, round(rate * seconds)), 0.01 if rate <= self.capacity else 1.0
        busy = min(1.0, rate / self.capacity) * seconds
        return LoadMeasurement(np.full(n, latency), 0, seconds, busy, 0.1 * seconds, redis_reads=0, redis_hits=0)

    def open(
        self, rates: Mapping[str, float], connections: int, pace: Pace, rng: np.random.Generator
    ) -> dict[str, LoadSummary]:
        return {
            one.name: summarize(
                [self.open_once(one, rates[one.name], pace.seconds, connections, rng) for _ in range(pace.rounds)]
            )
            for one in self.workloads
        }


@pytest.fixture
def simulated() -> SimulatedBenchmark:
    servers = BenchServers({}, "", redis.Redis())  # neither is used
    return SimulatedBenchmark(servers, (workload(BASELINE, BASELINE, [b""]),))


def test_the_capacity_of_a_server_is_found_and_reported(
    simulated: SimulatedBenchmark, capsys: pytest.CaptureFixture[str]
):
    found = find_max_rates(simulated, OBJECTIVE, np.random.default_rng(0))
    record = as_json(found)[BASELINE]
    assert record["rate"] == record["search"]["held"] <= CAPACITY < record["search"]["broke"]
    assert record["search"]["broke"] <= 1.25 * record["search"]["held"]
    assert record["of_empty"] == 1
    assert record["limited_by"] == "the server"
    assert record["at_rate"]["failures"] == 0
    assert record["at_rate"]["requests_per_second"] == pytest.approx(record["rate"], rel=0.01)
    out, err = capsys.readouterr()
    show(found, OBJECTIVE)
    assert "empty, 800 a second: p99 1000.0 ms, 0 failed: breaks" in err
    assert f"{found[BASELINE].rate:,.0f}" in out + capsys.readouterr().out


def test_a_rate_that_does_not_hold_when_measured_again_is_lowered_until_it_does(simulated: SimulatedBenchmark):
    ((rate, summary),) = confirm(simulated, {BASELINE: 1_000.0}, OBJECTIVE, np.random.default_rng(0)).values()
    assert rate == pytest.approx(1_000 / 1.25**4)
    assert summary.p99_ms <= OBJECTIVE.p99_ms
    assert sorted(set(simulated.rates)) == pytest.approx([1_000 / 1.25**n for n in (4, 3, 2, 1, 0)])


def test_a_rate_that_never_holds_has_no_confirmed_rate():
    overloaded = SimulatedBenchmark(
        BenchServers({}, "", redis.Redis()), (workload(BASELINE, BASELINE, [b""]),), capacity=0.1
    )
    found = find_max_rates(overloaded, OBJECTIVE, np.random.default_rng(0))
    assert as_json(found)[BASELINE]["search"] == {"held": None, "broke": 1.0}
    assert found[BASELINE].rate is None


def measured(*, failures: int = 0, p99_ms: float = 10, server: float = 0.1, client: float = 0.1) -> LoadMeasurement:
    latencies = np.full(1_000 - failures, p99_ms / 1e3)
    return LoadMeasurement(latencies, failures, 1.0, server, client, redis_reads=0, redis_hits=0)


def test_the_limit_ratio_is_p99_over_its_limit_and_infinite_where_too_many_requests_fail():
    assert OBJECTIVE.limit_ratio(measured(p99_ms=50)) == pytest.approx(0.5)
    assert OBJECTIVE.limit_ratio(measured(p99_ms=300, failures=10)) == pytest.approx(3)
    assert OBJECTIVE.limit_ratio(measured(failures=11)) == math.inf


@pytest.mark.parametrize(
    ("broke", "limit"),
    [
        (measured(server=0.97, client=0.4), "the server"),
        (measured(server=0.5, client=0.95), "the client"),
        (measured(server=0.5, client=0.4), "others on this machine"),
        (measured(server=0.97, failures=500), "failures"),
    ],
)
def test_the_bottleneck_at_the_lowest_rate_that_broke_is_named(
    simulated: SimulatedBenchmark, broke: LoadMeasurement, limit: str
):
    search = RateSearch(
        simulated, simulated.workloads[0], OBJECTIVE, np.random.default_rng(0), Progress(), {100.0: [broke] * 3}
    )
    assert search.limited_by(RateBracket(80.0, 100.0)) == limit
    assert search.limited_by(RateBracket(20_000.0, None)) == "the search itself: 20,000 a second held"
