import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loadtests.load_summary import LoadMeasurement, as_record, caveats, percentiles, summarize, summary_table


def measured(n: int, **changes: Any) -> LoadMeasurement:
    """n responses in one second, the i-th in i ms, by a server that was busy all the time."""
    fields: dict[str, Any] = {
        "latencies": np.arange(1, n + 1) / 1e3,
        "failures": 0,
        "seconds": 1.0,
        "server_cpu": 1.0,
        "client_cpu": 0.3,
        "redis_reads": 0,
        "redis_hits": 0,
    }
    return LoadMeasurement(**(fields | changes))


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed():
    hundred = np.random.default_rng(0).permutation(np.arange(1, 101))
    assert percentiles(hundred, [50, 95, 99, 100]).tolist() == [50, 95, 99, 100]
    assert percentiles(np.array([7.0]), [50, 99]).tolist() == [7, 7]
    assert percentiles(np.array([1.0, 2.0, 3.0]), [50]).tolist() == [2]


def test_the_ratio_compares_what_was_measured_in_the_same_round():
    # The machine is half as quick in the second round; the ratio does not notice.
    ratio = summarize([measured(50), measured(25), measured(60)], [measured(100), measured(50), measured(100)])
    assert ratio.to_baseline is not None
    assert (ratio.to_baseline.median, ratio.to_baseline.low, ratio.to_baseline.high) == (0.5, 0.5, 0.6)
    assert ratio.requests_per_second == 50


def test_cpu_a_request_and_percentiles_are_of_all_rounds_together():
    rounds = [measured(100, server_cpu=0.5), measured(100, server_cpu=0.3, seconds=3.0, redis_reads=8, redis_hits=6)]
    figures = summarize(rounds, [measured(200), measured(200)])
    assert figures.requests == 200
    assert figures.server_cpu_us == pytest.approx(4_000)
    assert figures.to_baseline is not None
    assert figures.to_baseline.by_cpu == pytest.approx(5_000 / 4_000)
    assert figures.server_busy == pytest.approx(0.2)
    assert figures.redis_hits == 0.75
    assert (figures.p50_ms, figures.p99_ms) == (50, 99)


def test_one_stalled_round_shows_in_the_spread_of_the_rounds():
    stalled = measured(100, latencies=np.full(100, 0.2))
    figures = summarize([measured(100), stalled, measured(100)])
    assert figures.p99_of_rounds_ms == (99, 99, 200)
    assert figures.p99_ms == 200


@pytest.mark.parametrize(
    ("server_cpu", "client_cpu", "limit"),
    [(0.98, 0.4, None), (0.6, 0.97, "the client"), (0.4, 0.2, "others on this machine")],
)
def test_a_rate_that_was_not_the_servers_limit_says_so(server_cpu: float, client_cpu: float, limit: str | None):
    one = measured(10, server_cpu=server_cpu, client_cpu=client_cpu)
    said = caveats({"recommend": summarize([one], [one])})
    assert said == ([] if limit is None else [f"limited by {limit}: recommend"])


def test_the_table_shows_failures_and_omits_a_missing_ratio():
    console = Console(width=200, file=io.StringIO())
    failed = measured(10, failures=3)
    console.print(summary_table({"closed": summarize([failed], [failed]), "open": summarize([failed])}, title="t"))
    closed, opened = (line for line in console.file.getvalue().splitlines() if line.startswith("│"))  # type: ignore[attr-defined]
    assert [cell.strip() for cell in closed.split("│")][2:5] == ["10", "1.00", "1.00..1.00"]
    assert [cell.strip() for cell in opened.split("│")][2:5] == ["10", "", ""]
    assert opened.split("│")[-2].strip() == "3"


def test_an_absent_server_has_a_row_without_numbers():
    console = Console(width=200, file=io.StringIO())
    console.print(summary_table({"ours": summarize([measured(10)])}, title="t", absent=["gone"]))
    rows = [line.split("│") for line in console.file.getvalue().splitlines() if line.startswith("│")]  # type: ignore[attr-defined]
    assert [cell.strip() for cell in rows[1]][1:4] == ["gone", "does not run", ""]


def test_the_share_of_cache_hits_is_of_all_rounds_together():
    assert summarize([measured(100, cached=100), measured(300, cached=0)]).cached == 0.25


def test_the_record_is_plain_and_rounded():
    one = measured(3, seconds=7.0)
    record = as_record({"recommend": summarize([one], [one])})["recommend"]
    assert record["requests_per_second"] == 0.429
    assert record["to_yardstick"] == {"median": 1.0, "low": 1.0, "high": 1.0, "by_cpu": 1.0}
    assert record["redis_hits"] is None
