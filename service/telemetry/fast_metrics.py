"""The metrics that every request updates, at a tenth of the cost of prometheus_client's.

prometheus_client takes a lock for each observation and walks the buckets. These metrics need no lock, since only the
event loop's thread observes and renders them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import prometheus_client
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from service.telemetry.task_metrics import TaskMetrics

UNMATCHED = "other"  # the label of every path without a route, so that callers cannot create time series
SERVER_ERRORS = ("500", "503", "504")  # statuses that are not the caller's fault
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STAGE_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

Labels = tuple[str, ...]


class Counter:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class CounterFamily(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name_and_help = (name, documentation)
        self._labels = labels
        self._series: dict[Labels, Counter] = {}
        registry.register(self)

    def labels(self, *values: str) -> Counter:
        """The series of these label values; a frequent caller should cache it."""
        counter = self._series.get(values)
        if counter is None:
            counter = self._series[values] = Counter()
        return counter

    def clear(self) -> None:
        """Remove all series."""
        self._series.clear()

    def describe(self) -> Iterable[Metric]:
        yield CounterMetricFamily(*self._name_and_help, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(*self._name_and_help, labels=self._labels)
        for values, counter in self._series.items():
            family.add_metric(values, counter.value)
        yield family


class Histogram:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last one is of the bucket +Inf
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class HistogramFamily(Collector):
    """A histogram with labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        *,
        bounds: Sequence[float],
    ) -> None:
        self._name_and_help = (name, documentation)
        self._labels = labels
        self._bounds = tuple(bounds)
        self._series: dict[Labels, Histogram] = {}
        registry.register(self)

    def labels(self, *values: str) -> Histogram:
        """The series of these label values; a frequent caller should cache it."""
        histogram = self._series.get(values)
        if histogram is None:
            histogram = self._series[values] = Histogram(self._bounds)
        return histogram

    def describe(self) -> Iterable[Metric]:
        yield HistogramMetricFamily(*self._name_and_help, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(*self._name_and_help, labels=self._labels)
        bounds = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for values, histogram in self._series.items():
            cumulative = [float(count) for count in accumulate(histogram.counts)]
            family.add_metric(values, list(zip(bounds, cumulative, strict=True)), histogram.sum)
        yield family


def counter_from_zero(
    registry: CollectorRegistry, name: str, documentation: str, **labels: Sequence[str]
) -> prometheus_client.Counter:
    """A counter whose series start at 0, since Prometheus sees no increase in a series that starts at 1."""
    ((label, values),) = labels.items()
    counter = prometheus_client.Counter(name, documentation, [label], registry=registry)
    for value in values:
        counter.labels(value)
    return counter


def method_label(method: str) -> str:
    """The method's name in metrics and traces: callers may send any."""
    return method if method in METHODS else "OTHER"


def route_of(scope: Scope) -> str:
    """The template of the request's route, its name in metrics and traces."""
    template: str = getattr(scope.get("route"), "path_format", UNMATCHED)
    return template


class RouteMetrics:
    """The series of one route, method and status."""

    __slots__ = ("requests", "seconds")

    def __init__(self, requests: Counter, seconds: Histogram) -> None:
        self.requests = requests
        self.seconds = seconds

    def observe(self, seconds: float) -> None:
        self.requests.inc()
        self.seconds.observe(seconds)


class HttpMetrics(TaskMetrics):
    """Requests and their responses."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.requests = CounterFamily("reco_requests", "Requests answered.", ["method", "route", "status"], r)
        self.seconds = HistogramFamily(
            "reco_request_seconds",
            "From the first byte received to the last byte sent.",
            ["method", "route"],
            r,
            bounds=LATENCY_BUCKETS,
        )
        self.timings = HistogramFamily(
            "reco_stage_seconds",
            "Stages of a request, as in Server-Timing: user, search, explain, render and others.",
            ["stage"],
            r,
            bounds=STAGE_BUCKETS,
        )
        self.in_flight = prometheus_client.Gauge(
            "reco_requests_in_flight", "Requests in flight: all of the request has arrived.", registry=r
        )
        self.connections = prometheus_client.Gauge("reco_connections", "Open connections of callers.", registry=r)
        self.answers = prometheus_client.Counter(
            "reco_answers", "Responses by what they were made from.", ["source"], registry=r
        )
        self.errors = counter_from_zero(
            r, "reco_errors", "Refusals and failures by error code.", code=("busy", "internal", "timeout")
        )
        self._routes: dict[tuple[str, str, int], RouteMetrics] = {}
        self._sources: dict[str, prometheus_client.Counter] = {}

    def route(self, method: str, route: str, status: int) -> RouteMetrics:
        """The series of one method, route and status, cached."""
        key = (method_label(method), route, status)
        if key not in self._routes:
            for server_error in SERVER_ERRORS:  # start at 0, see counter_from_zero
                self.requests.labels(*key[:2], server_error)
            self._routes[key] = RouteMetrics(self.requests.labels(*key[:2], str(status)), self.seconds.labels(*key[:2]))
        return self._routes[key]

    def count_answer(self, source: str) -> None:
        """Count one response by its source; the response of a route without sources is not counted."""
        if source:
            if source not in self._sources:
                self._sources[source] = self.answers.labels(source)
            self._sources[source].inc()
