"""Whether a new bundle does worse than the one before, by what `/metrics` counts anyway: no request pays for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.samples import Sample

from service.settings import Settings
from service.telemetry.metrics import Metrics

WATCHED = ("/recommend", "/similar", "/popular", "/items", "/users", "/trending")  # what is answered out of a bundle
FAULTS = frozenset({"500", "504"})  # of ours; a 503 is load or a store that is away, whatever bundle serves
QUANTILE = 0.99


@dataclass(frozen=True)
class Traffic:
    """Requests answered out of bundles: how many, how many failed, how many took at most so many seconds."""

    requests: float = 0
    faults: float = 0
    buckets: Mapping[float, float] = field(default_factory=dict)  # cumulative, as Prometheus has them

    @classmethod
    def of(cls, metrics: Metrics) -> "Traffic":
        """All since the process began."""
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
        """What came after an earlier count."""
        buckets = {bound: count - before.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Traffic(self.requests - before.requests, self.faults - before.faults, buckets)

    @property
    def p99_s(self) -> float:
        """Interpolated within its bucket, as Prometheus does; 0 without requests, the last bound beyond it."""
        total = max(self.buckets.values(), default=0.0)
        lower, below = 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= QUANTILE * total > 0:
                return lower if bound == float("inf") else lower + (bound - lower) * _part(total, below, count)
            lower, below = bound, count
        return 0.0


def _part(total: float, below: float, count: float) -> float:
    return (QUANTILE * total - below) / (count - below)


def _samples(metric: Any, suffix: str) -> Iterator[Sample]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix) and sample.labels["route"].startswith(WATCHED):
                yield sample


def complaint(new: Traffic, old: Traffic, settings: Settings) -> str:
    """Why the new bundle must go, empty where it may stay or where too few requests came to say.

    `old` is the traffic of the bundle before, over a window of the same length; its p99 is compared with where it
    had as many requests.
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
