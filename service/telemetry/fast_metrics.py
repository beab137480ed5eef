"""Prometheus counters and histograms for the hot path, at a tenth of the cost of prometheus_client's.

prometheus_client takes a lock for each observation and walks the buckets. These metrics need no lock, since only the
event loop's thread observes and renders them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

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
        return self._series.setdefault(values, Counter())

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
