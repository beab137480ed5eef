"""What the health view reads from texts of /metrics, and what it says of the time between two of them."""

import math
from typing import Any

import pytest
from console_scripts import SEEN, STARTED, in_node, metrics
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

BOUNDS = (0.01, 0.1, 1.0)
EVERY_S = 5

READ = """
    const { parseMetrics } = await load("prometheus.ts");
    return [...parseMetrics(given, 0).metrics].flatMap(([name, series]) =>
        series.map(({ labels, value }) => [name, labels, String(value)]));
"""


def seen(script: str, *texts: str, first: float = STARTED + 10) -> Any:
    """What the script returns of a history of the texts, which were taken every 5 s."""
    return in_node(SEEN + script, {"texts": texts, "first": first, "every": EVERY_S})


def test_every_line_is_read_as_prometheus_reads_it() -> None:
    registry = CollectorRegistry()
    odd = Counter("odd", 'Help with "quotes" and \\ and {braces} 1', ["said", "by"], registry=registry)
    for said in ['"quoted"', "two\nlines", "back\\slash", "back\\nslash", 'a="b",c="d"', "{}", "", "ä, 1 # x"]:
        odd.labels(said, "one").inc(2.5)
    for value in (math.inf, -math.inf, math.nan, 1.5e-9, 123456789.0):
        Gauge(f"g{value:.0f}".replace("-", "m"), "", registry=registry).set(value)
    Histogram("seconds", "", ["route"], buckets=BOUNDS, registry=registry).labels("/items/{item_id}").observe(0.05)
    text = generate_latest(registry).decode()
    families = text_string_to_metric_families(text)
    expected = [[one.name, one.labels, one.value] for family in families for one in family.samples]

    found = [[name, labels, float(value.replace("Infinity", "inf"))] for name, labels, value in in_node(READ, text)]

    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert in_node(READ, "no metric\n\n# TYPE x counter\nhalf{a=\nfine 1") == [["fine", {}, "1"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 10], [7, 7 / 5]),
        ([3, 10, 10, 14], [11, 11 / 15]),
        ([10, 2], [2, 2 / 5]),  # it went back: a restarted process counts from 0
        ([8], [8, 8 / 10]),  # one sample: since the start
    ],
)
def test_a_rate_is_of_the_difference_of_samples_and_since_the_start_where_there_is_one(
    values: list[float], expected: list[float]
) -> None:
    totals = 'const { totals } = await load("views/health/figures.ts"); const all = totals(history.last(60));'
    long_ago = [metrics(value, start=STARTED - 500 if len(values) > 1 else STARTED) for value in values]
    assert seen(f"{totals} return [all.requests, all.perS];", *long_ago) == expected


def test_the_window_bounds_what_counts() -> None:
    texts = [metrics(value, start=0) for value in (0, 100, 101, 103)]
    totals = 'const { totals } = await load("views/health/figures.ts");'
    assert seen(f"{totals} return [5, 10, 60].map((s) => totals(history.last(s)).requests);", *texts) == [2, 3, 103]


def test_a_quantile_is_interpolated_in_its_bucket_of_the_difference() -> None:
    def text(*counts: int) -> str:
        buckets = zip([*BOUNDS, "+Inf"], counts, strict=True)
        route = 'method="GET",route="/popular"'
        return "\n".join(f'reco_request_seconds_bucket{{{route},le="{bound}"}} {count}' for bound, count in buckets)

    figures = 'const { totals } = await load("views/health/figures.ts"); const { p50, p99 } = totals(history.seen(60));'
    assert seen(f"{figures} return [p50, p99];", text(5, 5, 5, 5), text(5, 15, 15, 15)) == pytest.approx(
        [0.055, 0.0991]
    )
    assert seen(f"{figures} return p99;", text(0, 0, 0, 0), text(0, 0, 0, 9)) == 1.0  # above the last bound: that bound
    assert seen(f"{figures} return String(p50);", text(5, 5, 5, 5), text(5, 5, 5, 5)) == "NaN"
