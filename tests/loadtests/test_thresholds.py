from hypothesis import given
from hypothesis import strategies as st

from loadtests.thresholds import RouteResult, Thresholds

LIMITS = Thresholds(failures=0.01, p99_ms={"/recommend": 50, "/events": 200})


def test_a_run_within_its_limits_breaks_none():
    assert list(LIMITS.broken([RouteResult("/recommend", 990, 10, 50), RouteResult("/events", 10, 0, 200)])) == []


def test_each_broken_limit_is_reported_with_the_value_and_the_excess():
    routes = [RouteResult("/recommend", 900, 30, 61), RouteResult("/events", 100, 0, 1_200.5)]
    assert list(LIMITS.broken(routes)) == [
        "30 of 1,000 requests failed, 3.00%: 2.00% above the 1.00% allowed",
        "p99 of /recommend was 61 ms: 11.0 ms above the 50 ms allowed",
        "p99 of /events was 1,200 ms: 1,000.5 ms above the 200 ms allowed",
    ]


def test_a_route_without_requests_breaks_its_limit():
    assert list(LIMITS.broken([RouteResult("/recommend", 10, 0, 1)])) == [
        "/events received no request, so its p99 is unknown"
    ]
    assert len(list(LIMITS.broken([]))) == 2


@given(st.integers(1, 10_000), st.data())
def test_failures_count_over_all_routes_together(requests: int, data: st.DataObject):
    failures = data.draw(st.integers(0, requests))
    routes = [RouteResult("/recommend", requests, failures, 1), RouteResult("/events", requests, 0, 1)]
    assert bool(list(LIMITS.broken(routes))) == (failures / (2 * requests) > 0.01)
