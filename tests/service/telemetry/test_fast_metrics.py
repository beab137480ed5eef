import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from service.telemetry.fast_metrics import CounterFamily, HistogramFamily

BOUNDS = (0.001, 0.01, 0.5, 1.0, 10.0)


def text(registry: CollectorRegistry) -> list[str]:
    """What Prometheus reads, without the times of creation."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from(["user", 'a"b\\c', ""]), st.floats(0, 20) | st.sampled_from(BOUNDS))))
def test_a_histogram_is_rendered_as_prometheus_own(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spreads = HistogramFamily("x_seconds", "Time.", ["stage"], ours, bounds=BOUNDS)
    histogram = Histogram("x_seconds", "Time.", ["stage"], registry=theirs, buckets=BOUNDS)
    for stage, value in observed:
        spreads.labels(stage).observe(value)
        histogram.labels(stage).observe(value)
    assert text(ours) == text(theirs)


@given(st.lists(st.tuples(st.sampled_from(["GET", "POST"]), st.sampled_from(["200", "404"]))))
def test_a_counter_is_rendered_as_prometheus_own(counted: list[tuple[str, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = CounterFamily("x", "Number.", ["method", "status"], ours)
    counter = Counter("x", "Number.", ["method", "status"], registry=theirs)
    for labels in counted:
        counts.labels(*labels).inc()
        counter.labels(*labels).inc()
    assert text(ours) == text(theirs)


def test_two_metrics_of_one_name_are_refused() -> None:
    registry = CollectorRegistry()
    CounterFamily("x", "Number.", [], registry)
    HistogramFamily("y", "Time.", [], registry, bounds=BOUNDS)
    for name in ("x", "y"):
        with pytest.raises(ValueError, match="Duplicated"):
            Histogram(name, "Another.", registry=registry)
