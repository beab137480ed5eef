"""Counters and histograms of what every request does, for Prometheus, at a tenth of its client's cost.

prometheus_client takes a lock for each observation and walks the buckets. Here all observations come from the thread of
the event loop, which also renders them, so a number in a list is enough.
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
        """Counter one more."""
        self.value += 1


class CounterFamily(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._named = (name, documentation)
        self._labels = labels
        self._series: dict[Labels, Counter] = {}
        registry.register(self)

    def labels(self, *values: str) -> Counter:
        """The series of these label values; whoever counts often keeps it."""
        return self._series.setdefault(values, Counter())

    def describe(self) -> Iterable[Metric]:
        """What registering checks the name by."""
        yield CounterMetricFamily(*self._named, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """What is rendered."""
        family = CounterMetricFamily(*self._named, labels=self._labels)
        for values, count in self._series.items():
            family.add_metric(values, count.value)
        yield family


class Histogram:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # the last beyond all bounds
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counter a value in its bucket."""
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
        self._named = (name, documentation)
        self._labels = labels
        self._bounds = tuple(bounds)
        self._series: dict[Labels, Histogram] = {}
        registry.register(self)

    def labels(self, *values: str) -> Histogram:
        """The series of these label values; whoever observes often keeps it."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = Histogram(self._bounds)
        return found

    def describe(self) -> Iterable[Metric]:
        """What registering checks the name by."""
        yield HistogramMetricFamily(*self._named, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        """What is rendered."""
        family = HistogramMetricFamily(*self._named, labels=self._labels)
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for values, spread in self._series.items():
            below = [float(count) for count in accumulate(spread.counts)]
            family.add_metric(values, list(zip(names, below, strict=True)), spread.sum)
        yield family
