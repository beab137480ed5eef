from pathlib import Path

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
