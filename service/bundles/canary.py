"""Compares the responses of a new bundle with those of the one before, from the metrics that are counted anyway."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.samples import Sample

from service.settings import BundleSettings
from service.telemetry.fast_metrics import HttpMetrics

BUNDLE_ROUTES = ("/recommend", "/similar", "/popular", "/items", "/users", "/trending")  # answered from a bundle
FAULTS = frozenset({"500", "504"})  # statuses; a 503 is load or an unavailable store, whichever bundle serves
QUANTILE = 0.99


@dataclass(frozen=True)
class Traffic:
    """Counts of the requests answered from bundles: all, failed, and by duration.

    buckets: cumulative counts by upper bound in seconds, as in Prometheus.
    """

    requests: float = 0
    faults: float = 0
    buckets: Mapping[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, metrics: HttpMetrics) -> "Traffic":
        """The counts since the process started."""
        requests = faults = 0.0
        for sample in _samples(metrics.requests, "_total"):
            requests += sample.value
            faults += sample.value if sample.labels["status"] in FAULTS else 0.0
        buckets: dict[float, float] = {}
        for sample in _samples(metrics.seconds, "_bucket"):
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
        return cls(requests, faults, buckets)

    def since(self, before: "Traffic") -> "Traffic":
        """The counts since an earlier one."""
        buckets = {bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Traffic(self.requests - before.requests, self.faults - before.faults, buckets)

    @property
    def p99_s(self) -> float:
        """The p99 duration, interpolated within its bucket as in Prometheus; 0 without requests."""
        total = max(self.buckets.values(), default=0.0)
        lower, below = 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= QUANTILE * total > 0:
                return lower if bound == float("inf") else lower + (bound - lower) * _position(total, below, count)
            lower, below = bound, count
        return 0.0


def _position(total: float, below: float, count: float) -> float:
    return (QUANTILE * total - below) / (count - below)


def _samples(metric: Any, suffix: str) -> Iterator[Sample]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix) and sample.labels["route"].startswith(BUNDLE_ROUTES):
                yield sample


def rollback_reason(new: Traffic, old: Traffic, settings: BundleSettings) -> str:
    """Why the new bundle must be rolled back; empty where it may stay, or where there are too few requests to decide.

    `old` is the traffic of the bundle before. Its p99 is compared only where it has enough requests, too.
    """
    if new.requests < settings.watch_min_requests:
        return ""
    share = new.faults / new.requests
    if share > settings.watch_max_error_share:
        return f"{share:.1%} of {new.requests:.0f} requests failed, limit {settings.watch_max_error_share:.1%}"
    p99_ms, limit_ms = new.p99_s * 1000, settings.watch_max_p99_ms
    if p99_ms <= limit_ms:
        return ""
    if old.requests < settings.watch_min_requests:
        return f"p99 is {p99_ms:.0f} ms, limit {limit_ms:g} ms"
    ratio = p99_ms / max(old.p99_s * 1000, 1e-9)
    if ratio <= settings.watch_max_p99_ratio:
        return ""
    return f"p99 is {p99_ms:.0f} ms, above {limit_ms:g} ms and {ratio:.1f} times that of the bundle before"
