"""Adds the metrics of several workers up to those of one service.

Counters and histograms are summed. Of gauges, amounts are summed (SUMMED), those whose small values are the bad ones
take the smallest (SMALLEST), and all others, such as flags of a fault, the largest. Info series are kept once each.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

TOTALS = ("counter", "histogram", "summary")  # kinds that only grow
BORN = "_created"  # the suffix of the time at which a series began
SUMMED = frozenset({
    "process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes",
    "reco_connections", "reco_encoding_queue", "reco_events_waiting", "reco_items_waiting", "reco_kept_bytes",
    "reco_limit",
    "reco_memory_anonymous_bytes", "reco_requests_in_flight",
})  # fmt: skip
SMALLEST = frozenset({
    "process_start_time_seconds", "reco_background_task_up", "reco_bundle_created_timestamp_seconds",
    "reco_disk_free_ratio", "reco_experiment_sample_ratio_p", "reco_index_recall", "reco_live_hears",
})  # fmt: skip

Labels = tuple[tuple[str, str], ...]


def dump(families: Iterable[Metric]) -> bytes:
    """The metrics as JSON."""
    return orjson.dumps([[one.name, one.documentation, one.type, _samples(one)] for one in families])


def _samples(family: Metric) -> list[list[Any]]:
    return [[sample.name, sample.labels, sample.value] for sample in family.samples]


def load(text: bytes) -> list[Metric]:
    """The metrics that `dump` wrote; ValueError where they are cut short."""
    return [_family(name, text, kind, samples) for name, text, kind, samples in orjson.loads(text)]


def _family(name: str, documentation: str, kind: str, samples: Iterable[Sequence[Any]]) -> Metric:
    family = Metric(name, documentation, kind)
    for sample_name, labels, value in samples:
        family.samples.append(Sample(sample_name, labels, math.nan if value is None else value))
    return family


def totals(families: Iterable[Metric]) -> list[Metric]:
    """The metrics that only grow, which outlive the worker that counted them."""
    return [family for family in families if family.type in TOTALS]


def merge(snapshots: Iterable[Iterable[Metric]]) -> list[Metric]:
    """The metrics of all workers together, in the order in which they first appear."""
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, Labels], float]] = {}
    for families in snapshots:
        for family in families:
            merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            series = values.setdefault(family.name, {})
            for sample in family.samples:
                key = sample.name, tuple(sample.labels.items())
                combine = _combination(family, sample.name)
                series[key] = combine(series[key], sample.value) if key in series else sample.value
    for name, family in merged.items():
        family.samples.extend(Sample(of, dict(labels), value) for (of, labels), value in values[name].items())
    return list(merged.values())


def _combination(family: Metric, sample: str) -> Callable[[float, float], float]:
    if sample.endswith(BORN) or family.name in SMALLEST:
        return min
    if family.type in TOTALS or family.name in SUMMED:
        return _add
    return max


def _add(one: float, other: float) -> float:
    return one + other


class _Collected(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def render(families: Sequence[Metric]) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry)
