"""What others see: the proxy's count of second tries and its view of the replicas, and the alerts of Prometheus."""

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.processes import HOST
from deploy.prometheus_server import ask

BACKEND = "replicas"  # its name in haproxy.cfg
RETRIES = ("haproxy_backend_retry_warnings_total", "haproxy_backend_redispatch_warnings_total")  # here, elsewhere
STATUS = "haproxy_server_status"
FIRING, PENDING = "firing", "pending"
PATIENCE_S = 5.0


@dataclass(frozen=True)
class Alerts:
    """By name."""

    firing: frozenset[str]
    pending: frozenset[str]  # would fire, were it to last

    def beyond(self, before: "Alerts") -> "Alerts":
        """Those that there were not before."""
        return Alerts(self.firing - before.firing, self.pending - before.pending)


@dataclass(frozen=True)
class ProxyView:
    """What HAProxy tells of itself."""

    port: int

    def retries(self) -> int:
        """How often a request had to be tried again, so far."""
        return int(sum(sum(self._read(name).values()) for name in RETRIES))

    def up(self) -> set[str]:
        """The replicas that are sent requests."""
        return {server for (server, state), value in self._read(STATUS).items() if state == "UP" and value == 1}

    def _read(self, name: str) -> dict[tuple[str, str], float]:
        text = httpx.get(f"http://{HOST}:{self.port}/metrics", timeout=PATIENCE_S).raise_for_status().text
        return {
            (sample.labels.get("server", ""), sample.labels.get("state", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels.get("proxy") == BACKEND
        }


@dataclass(frozen=True)
class AlertView:
    """What Prometheus makes of it; nothing where there is none."""

    prometheus: httpx.Client | None

    def within(self, seconds: float) -> Alerts:
        """Those of the last so many seconds."""
        if self.prometheus is None:
            return Alerts(frozenset(), frozenset())
        query = f"count by (alertname, alertstate) (count_over_time(ALERTS[{max(1, round(seconds))}s]))"
        labels = [one for one, _ in ask(self.prometheus, query)]
        firing, pending = (
            frozenset(one["alertname"] for one in labels if one["alertstate"] == state) for state in (FIRING, PENDING)
        )
        return Alerts(firing, pending - firing)
