"""A bundle that does badly once it serves goes by itself."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
from bundles import edited
from hypothesis import given
from hypothesis import strategies as st
from servers import counted, serving, wait_until

from service.bundles.canary import Traffic, rollback_reason
from service.settings import Settings
from service.telemetry.fast_metrics import LATENCY_BUCKETS
from service.telemetry.metrics import Metrics

FAST = {"watch_s": 30, "watch_min_requests": 20, "bundle_poll_s": 0.05, "warm_up_requests": 0}


def mute(two) -> Path:
    """A bundle whose items no request can tell: sums and laws hold, and every answer is a 500."""
    return edited(two.second, "items/bytes.npy", lambda text: text.fill(ord("x")))


def traffic(*requests: tuple[str, float]) -> Traffic:
    metrics = Metrics()
    for status, seconds in requests:
        metrics.route("GET", "/recommend/{user_id}", int(status)).observe(seconds)
    return Traffic.of(metrics)


def settings(**changes: object) -> Settings:
    return Settings(registry=Path("none"), watch_min_requests=10, **changes)  # type: ignore[arg-type]


def test_a_bundle_that_fails_requests_is_rolled_back_and_not_taken_up_again_before_it_is_published_by_hand(two):
    bad = mute(two)
    with serving(registry=two.folder, **FAST) as client:
        two.registry.publish(bad.name)
        wait_until(lambda: client.get("/readyz").json()["bundle"] == bad.name)
        assert client.get("/recommend/user-3").status_code == 500
        wait_until(lambda: client.get("/recommend/user-3").json().get("bundle") == two.first.name)
        assert two.registry.current_id() == two.first.name
        known = next(one for one in client.get("/bundles").json()["bundles"] if one["bundle_id"] == bad.name)
        assert "requests failed, limit 2.0%" in known["withdrawn"]["why"]
        assert counted(client, 'reco_bundle_rollbacks_total{outcome="done"}') == 1

        forced = client.post(f"/bundles/{bad.name}/publish", timeout=60).json()
        assert forced["bundle"] == bad.name
        assert two.registry.record(bad.name).withdrawn is None


def test_of_two_replicas_one_rolls_back_and_both_go_back(two):
    bad = mute(two)
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(serving(registry=two.folder, data=two.folder / str(n), **FAST)) for n in range(2)
        ]
        two.registry.publish(bad.name)
        for client in replicas:
            wait_until(lambda client=client: client.get("/readyz").json()["bundle"] == bad.name)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(ask_until_it_answers, replicas))
        assert two.registry.current_id() == two.first.name
        done = [counted(client, 'reco_bundle_rollbacks_total{outcome="done"}') for client in replicas]
        assert sum(done) == 1


def ask_until_it_answers(client: httpx.Client) -> None:
    wait_until(lambda: client.get("/recommend/user-3").status_code == 200)


def test_a_bundle_gone_back_to_is_not_watched(two):
    bad = mute(two)
    two.registry.publish(bad.name)
    two.registry.publish(two.first.name)
    with serving(registry=two.folder, **FAST) as client:
        two.registry.rollback()
        wait_until(lambda: client.get("/readyz").json()["bundle"] == bad.name)
        assert [client.get("/recommend/user-3").status_code for _ in range(40)] == [500] * 40
        assert two.registry.current_id() == bad.name


def test_too_few_requests_say_nothing():
    assert rollback_reason(traffic(*[("500", 0.001)] * 9), Traffic(), settings()) == ""
    assert rollback_reason(traffic(*[("500", 0.001)] * 10), Traffic(), settings()).startswith(
        "100.0% of 10 requests failed"
    )


def test_faults_are_ours_and_not_those_of_callers_or_of_load():
    fine = [("404", 0.001), ("422", 0.001), ("503", 0.001)] * 10
    assert rollback_reason(traffic(*fine), Traffic(), settings()) == ""
    told = rollback_reason(traffic(*fine, ("504", 0.001)), Traffic(), settings(watch_max_error_share=0.03))
    assert told == "3.2% of 31 requests failed, limit 3.0%"


def test_a_p99_is_bad_beyond_the_limit_and_beside_that_of_the_bundle_before():
    slow, fast = traffic(*[("200", 0.2)] * 20), traffic(*[("200", 0.004)] * 20)
    assert rollback_reason(fast, fast, settings()) == ""
    assert rollback_reason(slow, slow, settings()) == "", "it was slow before"
    assert "times that of the bundle before" in rollback_reason(slow, fast, settings())
    assert rollback_reason(slow, fast, settings(watch_max_p99_ms=300)) == ""
    assert rollback_reason(slow, Traffic(), settings()).startswith("p99 is 2"), (
        "nothing to compare with: the limit alone"
    )


def test_only_what_comes_out_of_bundles_counts_and_only_since():
    metrics = Metrics()
    for route in ("/bundles/{bundle_id}/publish", "/events", "/metrics"):
        metrics.route("POST", route, 500).observe(20.0)
    assert Traffic.of(metrics).requests == 0
    metrics.route("GET", "/popular", 500).observe(0.1)
    before = Traffic.of(metrics)
    metrics.route("GET", "/popular", 200).observe(0.001)
    later = Traffic.of(metrics).since(before)
    assert (later.requests, later.faults) == (1, 0)
    assert later.p99_s <= 0.001


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50))
def test_the_p99_lies_in_the_bucket_of_the_right_request(seconds):
    p99 = traffic(*[("200", one) for one in seconds]).p99_s
    right = sorted(seconds)[-(len(seconds) // 100) - 1]
    upper = next((bound for bound in LATENCY_BUCKETS if right <= bound), LATENCY_BUCKETS[-1])
    lower = max((bound for bound in LATENCY_BUCKETS if bound < upper), default=0.0)
    assert lower <= p99 <= upper
