"""The thresholds of a load test: limits on failures and on p99 latency."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RouteResult:
    """The results of all requests to one route."""

    name: str
    requests: int
    failures: int
    p99_ms: float


@dataclass(frozen=True)
class Thresholds:
    """The limits that a load test must keep."""

    failures: float  # share of all requests
    p99_ms: Mapping[str, float]  # by route

    def broken(self, routes: Sequence[RouteResult]) -> Iterator[str]:
        """Yield a line for each broken limit. A route without requests counts as broken."""
        requests, failures = sum(one.requests for one in routes), sum(one.failures for one in routes)
        if requests and failures / requests > self.failures:
            share = failures / requests
            yield (
                f"{failures:,} of {requests:,} requests failed, {share:.2%}: "
                f"{share - self.failures:.2%} above the {self.failures:.2%} allowed"
            )
        requested = {one.name: one for one in routes if one.requests}
        for name, limit in self.p99_ms.items():
            if name not in requested:
                yield f"{name} received no request, so its p99 is unknown"
            elif (p99 := requested[name].p99_ms) > limit:
                yield f"p99 of {name} was {p99:,.0f} ms: {p99 - limit:,.1f} ms above the {limit:g} ms allowed"
