"""The limits of a load test, and which of them a run broke, by how much."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RouteResult:
    """What came of the requests to one route."""

    name: str
    requests: int
    failures: int
    p99_ms: float


@dataclass(frozen=True)
class Thresholds:
    """What a run may come to."""

    failures: float  # share of all requests
    p99_ms: Mapping[str, float]  # by route

    def broken(self, routes: Sequence[RouteResult]) -> Iterator[str]:
        """A line for each limit that does not hold, first that of failures; a route that nobody asked is one too."""
        requests, failures = sum(one.requests for one in routes), sum(one.failures for one in routes)
        if requests and failures / requests > self.failures:
            share = failures / requests
            yield (
                f"{failures:,} of {requests:,} requests failed, {share:.2%}: "
                f"{share - self.failures:.2%} above the {self.failures:.2%} allowed"
            )
        asked = {one.name: one for one in routes if one.requests}
        for name, limit in self.p99_ms.items():
            if name not in asked:
                yield f"{name} was never asked, so nothing is known of its p99"
            elif (p99 := asked[name].p99_ms) > limit:
                yield f"p99 of {name} was {p99:,.0f} ms: {p99 - limit:,.1f} ms above the {limit:g} ms allowed"
