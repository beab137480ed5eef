from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import counted, publish, serving

from service.telemetry.metrics import Metrics

COUNTED_ONCE_IN_A_WHILE = [
    'reco_errors_total{code="busy"}',
    'reco_events_refused_total{reason="event_log_unavailable"}',
    'reco_events_refused_total{reason="overloaded"}',
    'reco_retrain_jobs_total{state="failed"}',
    'reco_bundle_swaps_total{outcome="failed"}',
    'reco_bundle_rollbacks_total{outcome="failed"}',
    'reco_api_key_reloads_total{outcome="refused"}',
    'reco_rules_reloads_total{outcome="refused"}',
]


@pytest.mark.parametrize("series", COUNTED_ONCE_IN_A_WHILE)
def test_what_alerts_wait_for_stands_at_0_before_it_happens(series: str) -> None:
    assert f"{series} 0.0" in Metrics().render().decode().splitlines()


def test_the_first_request_of_a_route_puts_its_failures_at_0() -> None:
    metrics = Metrics()
    metrics.route("GET", "/recommend/{user_id}", 200).observe(0.001)
    lines = metrics.render().decode().splitlines()
    of_route = [line for line in lines if line.startswith('reco_requests_total{method="GET",route="/recommend/')]
    counts = {line.split('status="')[1][:3]: float(line.split()[-1]) for line in of_route}
    assert counts == {"200": 1, "500": 0, "503": 0, "504": 0}


def test_methods_that_callers_make_up_take_one_series_and_no_memory() -> None:
    metrics = Metrics()
    made_up = [f"METHOD{i}" for i in range(100)]
    assert len({id(metrics.route(method, "other", 405)) for method in made_up}) == 1
    for method in made_up:
        metrics.route(method, "other", 405).observe(0.001)
    counted = {"method": "OTHER", "route": "other", "status": "405"}
    assert metrics.registry.get_sample_value("reco_requests_total", counted) == 100


# Requests, and how many user profiles each of them needs.
ASKED: list[tuple[str, str, Any, int]] = [
    ("GET", "/recommend/user-1?explain=true&counterfactual=true", None, 1),
    ("GET", "/recommend/user-2?category=lamp&diversity=0.5", None, 1),
    ("GET", "/recommend/nobody", None, 1),
    ("GET", "/recommend/user-1?k=0", None, 0),
    ("POST", "/recommend", {"items": [{"item_id": "item-1"}], "user_id": "user-3"}, 1),
    ("POST", "/recommend", {"items": [{"item_id": "item-1"}]}, 0),
    ("POST", "/recommend/batch", {"user_ids": ["user-4", "user-4", "user-5", "nobody"]}, 3),
    ("GET", "/similar/item-1?explain=true", None, 0),
    ("GET", "/similar/item-1?user_id=user-1", None, 1),
    ("GET", "/items/item-1", None, 0),
    ("GET", "/items/none", None, 0),
    ("GET", "/items/item-1/users", None, 0),
    ("PUT", "/items/item-9/hidden", None, 0),
    ("DELETE", "/items/item-9/hidden", None, 0),
    ("GET", "/hidden", None, 0),
    ("GET", "/popular", None, 0),
    ("GET", "/trending", None, 0),
    ("GET", "/users/user-1", None, 1),
    ("GET", "/users/user-6", None, 1),
    ("GET", "/users/nobody", None, 1),
    ("POST", "/events", {"user_id": "ann", "item_id": "item-1", "kind": "click"}, 0),
    ("GET", "/quality", None, 0),
    ("GET", "/bundles", None, 0),
    ("POST", "/bundles/none/publish", None, 0),
    ("POST", "/retrain", None, 0),
    ("GET", "/healthz", None, 0),
    ("GET", "/readyz", None, 0),
    ("GET", "/docs", None, 0),
    ("GET", "/no/such/path", None, 0),
]
TOTALS = ("reco_requests_total", "reco_request_seconds_count", "reco_vectors_total", "reco_answers_total")


def totals(client: httpx.Client) -> dict[str, float]:
    """The sums of some metrics over all their series; those of the scrapes themselves left out."""
    found = dict.fromkeys(TOTALS, 0.0)
    stages: dict[str, float] = {}
    for line in client.get("/metrics").text.splitlines():
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        if name in found and 'route="/metrics"' not in series:
            found[name] += float(value)
        elif name == "reco_stage_seconds_count":
            stages[series] = float(value)
    return found | stages


def test_one_request_is_one_observation_of_every_route(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        for method, path, body, n_profiles in [*ASKED, *ASKED]:  # the second time from caches
            before = totals(client)
            response = client.request(method, path, json=body)
            after = totals(client)
            seen = {name: after[name] - before.get(name, 0.0) for name in after}
            requests, seconds, vectors, answers = (seen.pop(name) for name in TOTALS)
            assert (requests, seconds, vectors) == (1, 1, n_profiles), (method, path)
            has_source = response.headers["content-type"] == "application/json" and "source" in response.json()
            assert answers == has_source, (method, path)
            assert set(seen.values()) <= {0, 1}, (method, path)  # each stage


def test_a_scrape_tells_recall_limits_memory_and_disk(tmp_path: Path) -> None:
    bundle, caches = publish(tmp_path), {"answer_cache_mb": 3, "profile_cache_mb": 0.5}
    with serving(registry=tmp_path, max_in_flight=77, events_waiting=88, **caches) as client:
        for name, recall in bundle.manifest.index.recall.items():
            assert counted(client, f'reco_index_recall{{at="{name.removeprefix("recall@")}"}}') == recall > 0
        assert counted(client, 'reco_limit{of="requests_in_flight"}') == 77
        assert counted(client, 'reco_limit{of="events_waiting"}') == 88
        assert counted(client, 'reco_limit{of="answers_bytes"}') == 3_000_000
        assert counted(client, 'reco_limit{of="profiles_bytes"}') == 500_000
        assert counted(client, 'reco_kept_bytes{of="answers"}') == 0
        assert counted(client, 'reco_kept_bytes{of="profiles"}') == 0
        client.get("/recommend/user-1").raise_for_status()
        assert 500 < counted(client, 'reco_kept_bytes{of="answers"}') < 10_000
        assert 500 < counted(client, 'reco_kept_bytes{of="profiles"}') < 10_000
        assert 0 < counted(client, 'reco_disk_free_ratio{folder="data"}') < 1
        assert 0 < counted(client, "reco_memory_anonymous_bytes") < counted(client, "reco_memory_limit_bytes")
        assert counted(client, "reco_retrain_configured") == 0


def test_where_retraining_has_data_a_replica_must_lead(tmp_path: Path) -> None:
    publish(tmp_path / "bundles")
    with serving(registry=tmp_path / "bundles", retrain_data=tmp_path) as client:
        assert counted(client, "reco_retrain_configured") == 1
