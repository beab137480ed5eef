"""The metrics of several workers as one service's."""

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, Info
from prometheus_client.parser import text_string_to_metric_families

from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.workers.merged_metrics import SMALLEST, SUMMED, dump, load, merge, render, totals
from service.workers.worker import share_of


def scraped(*registries: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Every series of the workers together, by name and labels."""
    text = render(merge(load(dump(registry.collect())) for registry in registries)).decode()
    return {
        (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_and_buckets_of_histograms_are_summed() -> None:
    one, other = Metrics(), Metrics()
    for metrics, seconds in ((one, 0.00025), (other, 0.00025), (other, 7.0)):
        metrics.route("GET", "/popular", 200).observe(seconds)
    found = scraped(one.registry, other.registry)
    assert found["reco_requests_total", "method=GET", "route=/popular", "status=200"] == 3
    assert found["reco_request_seconds_count", "method=GET", "route=/popular"] == 3
    assert found["reco_request_seconds_bucket", "le=0.0005", "method=GET", "route=/popular"] == 2
    assert found["reco_request_seconds_sum", "method=GET", "route=/popular"] == pytest.approx(7.0005)


def test_gauges_are_summed_or_the_worse_of_both_by_their_rule() -> None:
    one, other = Metrics(), Metrics()
    one.events_waiting.set(2)
    other.events_waiting.set(3)
    one.task_runs("audit")
    other.task_failed("audit", "it returned")
    one.bundle_behind.set(1)
    other.bundle_behind.set(0)
    found = scraped(one.registry, other.registry)
    assert found["reco_events_waiting",] == 5
    assert found["reco_background_task_up", "task=audit"] == 0
    assert found["reco_bundle_behind",] == 1


def test_two_bundles_during_a_swap_are_two_series_and_one_bundle_is_one() -> None:
    registries = [CollectorRegistry() for _ in range(3)]
    for registry, bundle in zip(registries, "aab", strict=True):
        Info("reco_bundle", "The bundle that serves.", registry=registry).info({"bundle_id": bundle})
    found = scraped(*registries)
    assert {key: value for key, value in found.items() if key[0] == "reco_bundle_info"} == {
        ("reco_bundle_info", "bundle_id=a"): 1,
        ("reco_bundle_info", "bundle_id=b"): 1,
    }


def test_a_worker_that_died_leaves_its_totals_and_none_of_its_gauges() -> None:
    registry = CollectorRegistry()
    Gauge("reco_connections", "Open connections.", registry=registry).set(4)
    Histogram("reco_event_write_seconds", "Writes.", registry=registry).observe(1)
    assert [family.name for family in totals(registry.collect())] == ["reco_event_write_seconds"]


def test_the_metrics_of_one_worker_alone_are_scraped_unchanged() -> None:
    metrics = Metrics()
    metrics.route("GET", "/popular", 200).observe(0.1)
    lines = {line for line in metrics.render().decode().splitlines() if line.startswith(("reco_", "# TYPE reco_"))}
    merged = render(merge([load(dump(metrics.registry.collect()))])).decode().splitlines()
    live = ("reco_memory_anonymous_bytes", "reco_disk_free")
    assert {line for line in lines if not line.startswith(live)} <= set(merged)


def test_every_gauge_with_a_rule_of_its_own_exists() -> None:
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert gauges >= SUMMED | SMALLEST


def test_limits_of_the_service_are_divided_and_copies_of_bundles_are_not_shared() -> None:
    settings = Settings(registry="s3://shop/bundles", data="data", registry_copies="copies", max_connections=100)
    own = share_of(settings, 3, 2)
    assert (own.max_connections, own.max_in_flight, own.answer_cache_mb) == (34, 171, 43)
    assert own.profile_cache_mb == 16.0
    assert str(own.registry_copies) == "copies/worker-2"
    assert share_of(settings.model_copy(update={"answer_cache_mb": 0}), 3, 0).answer_cache_mb == 0
