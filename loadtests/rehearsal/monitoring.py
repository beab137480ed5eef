"""Observations during a rehearsal: the proxy's retries and its view of the replicas, and Prometheus' alerts."""

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.processes import HOST
from deploy.prometheus_server import query

BACKEND = "replicas"  # its name in haproxy.cfg
RETRIES = ("haproxy_backend_retry_warnings_total", "haproxy_backend_redispatch_warnings_total")  # same, other server
STATUS = "haproxy_server_status"
FIRING, PENDING = "firing", "pending"
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Alerts:
    """The names of firing and pending alerts."""

    firing: frozenset[str]
    pending: frozenset[str]

    def beyond(self, before: "Alerts") -> "Alerts":
        """Return the alerts that are not in `before`."""
        return Alerts(self.firing - before.firing, self.pending - before.pending)


@dataclass(frozen=True)
class ProxyView:
    """HAProxy's metrics."""

    port: int

    def retries(self) -> int:
        """Return the number of retried requests so far."""
        return int(sum(sum(self._read(name).values()) for name in RETRIES))

    def up(self) -> set[str]:
        """Return the replicas that receive requests."""
        return {server for (server, state), value in self._read(STATUS).items() if state == "UP" and value == 1}

    def _read(self, name: str) -> dict[tuple[str, str], float]:
        text = httpx.get(f"http://{HOST}:{self.port}/metrics", timeout=TIMEOUT_S).raise_for_status().text
        return {
            (sample.labels.get("server", ""), sample.labels.get("state", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels.get("proxy") == BACKEND
        }


@dataclass(frozen=True)
class AlertView:
    """Prometheus' alerts; none where Prometheus does not run."""

    prometheus: httpx.Client | None

    def within(self, seconds: float) -> Alerts:
        """Return the alerts of the last so many seconds."""
        if self.prometheus is None:
            return Alerts(frozenset(), frozenset())
        expression = f"count by (alertname, alertstate) (count_over_time(ALERTS[{max(1, round(seconds))}s]))"
        labels = [one for one, _ in query(self.prometheus, expression)]
        firing, pending = (
            frozenset(one["alertname"] for one in labels if one["alertstate"] == state) for state in (FIRING, PENDING)
        )
        return Alerts(firing, pending - firing)
