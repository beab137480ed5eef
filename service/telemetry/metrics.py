"""Every Prometheus metric of the service, defined once, on a registry of its own: one application, one registry."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import Scope

from service.redis.circuit_breaker import CircuitState
from service.telemetry.fast_metrics import Count, Counts, Spread, Spreads
from service.telemetry.resources import anonymous_bytes, memory_limit_bytes

UNMATCHED = "other"  # one label for whatever is not a route of ours: callers must not mint time series
FAULTS = ("500", "503", "504")  # statuses that are no fault of the caller's
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SWAP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
STAGE_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)


def route_of(scope: Scope) -> str:
    """The route's template, as it names a request in metrics and traces."""
    found: str = getattr(scope.get("route"), "path_format", UNMATCHED)
    return found


@dataclass(frozen=True)
class RouteMetrics:
    """The two series of one route, method and status, looked up once and kept."""

    requests: Count
    seconds: Spread

    def observe(self, seconds: float) -> None:
        """Count one answered request."""
        self.requests.inc()
        self.seconds.observe(seconds)


@dataclass
class Metrics:
    """What `/metrics` shows. Label values come from fixed sets, the bundle's labels apart."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _routes: dict[tuple[str, str, int], RouteMetrics] = field(default_factory=dict)
    _sources: dict[str, Counter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Define every metric."""
        r = self.registry
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        self.requests = Counts("reco_requests", "Requests answered.", ["method", "route", "status"], r)
        self.seconds = Spreads(
            "reco_request_seconds",
            "From the first byte handled to the last byte sent.",
            ["method", "route"],
            r,
            bounds=LATENCY_BUCKETS,
        )
        self.stages = Spreads(
            "reco_stage_seconds",
            "Parts of a request, as in Server-Timing: user, search, explain, render and others.",
            ["stage"],
            r,
            bounds=STAGE_BUCKETS,
        )
        self.in_flight = 0
        Gauge("reco_requests_in_flight", "Requests being answered now.", registry=r).set_function(
            lambda: self.in_flight
        )
        self.answers = Counter("reco_answers", "Answers by what they were made from.", ["source"], registry=r)
        self.vectors = Counter(
            "reco_vectors",
            "Users by where what is known of them came from: memory, fold_in (events), redis, bundle, none.",
            ["source"],
            registry=r,
        )
        self.events_unread = Counter(
            "reco_events_unread", "Users whose events could not be read: answered without them.", registry=r
        )
        self.live_polls = Counter(
            "reco_live_polls", "Looks into the log for new events: done, error.", ["outcome"], registry=r
        )
        self.live_hears = Gauge(
            "reco_live_hears", "1 while this replica hears of new events within moments.", registry=r
        )
        self.live_signals = Counter(
            "reco_live_signals",
            "Batches of news between replicas: sent, received, bad, error.",
            ["outcome"],
            registry=r,
        )
        self.hidden_items = Gauge("reco_hidden_items", "Items that are hidden now.", registry=r)
        self.redis_reads = Counter(
            "reco_redis_reads",
            "Vectors asked of Redis: hit, miss, bad (unusable bytes), late, error, skipped (circuit open).",
            ["outcome"],
            registry=r,
        )
        self.redis_writes = Counter(
            "reco_redis_writes", "Vectors for Redis: done, error, dropped.", ["outcome"], registry=r
        )
        self.redis_circuit = Gauge(
            "reco_redis_circuit", "1 for the state that the circuit to Redis is in.", ["state"], registry=r
        )
        self.index_fallbacks = Counter(
            "reco_index_fallbacks", "Times the CPU stood in for a GPU: at start, or for one search.", registry=r
        )
        self.errors = self._counter(
            "reco_errors", "Refusals and failures by the code of the answer.", code=("busy", "internal", "timeout")
        )
        self.key_reloads = self._counter(
            "reco_api_key_reloads", "Changes of the file of API keys: done, refused.", outcome=("done", "refused")
        )
        self.rate_limit_syncs = Counter(
            "reco_rate_limit_syncs",
            "Times that rate limits were settled with Redis: done, error.",
            ["outcome"],
            registry=r,
        )
        self.rules_reloads = self._counter(
            "reco_rules_reloads", "Changes of the file of rules: done, refused.", outcome=("done", "refused")
        )
        self.events = Counter("reco_events", "Events that the log took in, by kind.", ["kind"], registry=r)
        self.events_known = Counter("reco_events_known", "Events that the log had already.", registry=r)
        self.events_refused = self._counter(
            "reco_events_refused",
            "Events not taken in: overloaded, event_log_unavailable.",
            reason=("overloaded", "event_log_unavailable"),
        )
        self.events_waiting = Gauge("reco_events_waiting", "Events waiting to become durable.", registry=r)
        self.event_write_seconds = Histogram(
            "reco_event_write_seconds",
            "One write of the event log, all that waited together.",
            registry=r,
            buckets=LATENCY_BUCKETS,
        )
        self.impressions_dropped = Counter(
            "reco_impressions_dropped", "Impressions of our own that the log could not take.", registry=r
        )
        self.retrain_jobs = self._counter(
            "reco_retrain_jobs",
            "Retrainings by how they ended: published, refused, failed, cancelled.",
            state=("published", "refused", "failed", "cancelled"),
        )
        self.retrain_configured = Gauge(
            "reco_retrain_configured",
            "1 where data to retrain on are named, so that some replica must lead.",
            registry=r,
        )
        self.retrain_running = Gauge("reco_retrain_running", "1 while this replica works on a retraining.", registry=r)
        self.retrain_leader = Gauge("reco_retrain_leader", "1 while this replica leads the retraining.", registry=r)
        self.retrain_seconds = Gauge("reco_retrain_seconds", "How long the last retraining took in all.", registry=r)
        self.retrain_new_events = Gauge(
            "reco_retrain_new_events", "Events since the last retraining, as the leader counts them.", registry=r
        )
        self.bundle = Info("reco_bundle", "The bundle that serves.", registry=r)
        self.bundle_created = Gauge(
            "reco_bundle_created_timestamp_seconds", "When the bundle that serves was made (unix).", registry=r
        )
        self.index_recall = Gauge(
            "reco_index_recall",
            "recall@k of the index that serves against exact search, as measured when it was built.",
            ["at"],
            registry=r,
        )
        self.bundle_swaps = self._counter(
            "reco_bundle_swaps", "Bundles taken up while serving: done, failed.", outcome=("done", "failed")
        )
        self.bundle_swap_seconds = Histogram(
            "reco_bundle_swap_seconds",
            "From the decision to take a bundle up until it could serve: open, verify, build, warm up.",
            registry=r,
            buckets=SWAP_BUCKETS,
        )
        self.bundle_behind = Gauge(
            "reco_bundle_behind", "1 while the registry names another bundle than serves here.", registry=r
        )
        self.registry_away = Gauge("reco_registry_away", "1 while the registry of bundles cannot be read.", registry=r)
        self.bundle_damaged = Gauge(
            "reco_bundle_damaged", "1 while files of the bundle that serves are not what they were.", registry=r
        )
        self.bundles_open = Gauge("reco_bundles_open", "Bundles open: 2 during a swap, else 1.", registry=r)
        self.bundle_rollbacks = self._counter(
            "reco_bundle_rollbacks",
            "Bad bundles withdrawn by this process itself: done, done_by_another, failed.",
            outcome=("done", "done_by_another", "failed"),
        )
        self.bundle_gates = Counter(
            "reco_bundle_gates", "Bundles at the gate: passed, refused, forced, failed.", ["outcome"], registry=r
        )
        self.limits = Gauge(
            "reco_limit",
            "Most that there may be at once: requests_in_flight, events_waiting, answers_bytes, profiles_bytes.",
            ["of"],
            registry=r,
        )
        self.disk_free = Gauge(
            "reco_disk_free_ratio",
            "Free share of the disk under a folder: data, with the event log.",
            ["folder"],
            registry=r,
        )
        self._define_memory()

    def _define_memory(self) -> None:
        r = self.registry
        self.kept_bytes = Gauge("reco_kept_bytes", "What is kept in memory: answers, profiles.", ["of"], registry=r)
        Gauge("reco_memory_anonymous_bytes", "Memory that cannot be dropped and read again.", registry=r).set_function(
            anonymous_bytes
        )
        Gauge("reco_memory_limit_bytes", "What the container may use, else what the machine has.", registry=r).set(
            memory_limit_bytes()
        )

    def _counter(self, name: str, documentation: str, **labels: Sequence[str]) -> Counter:
        """A counter whose series begin at 0: Prometheus sees no increase in one that appears at 1."""
        ((label, values),) = labels.items()
        counter = Counter(name, documentation, [label], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def route(self, method: str, route: str, status: int) -> RouteMetrics:
        """The series of one kind of request."""
        key = (method, route, status)
        if key not in self._routes:
            label = method if method in METHODS else "OTHER"
            for fault in FAULTS:  # at 0 before the first one: see _counter
                self.requests.labels(label, route, fault)
            self._routes[key] = RouteMetrics(
                self.requests.labels(label, route, str(status)), self.seconds.labels(label, route)
            )
        return self._routes[key]

    def count_answer(self, source: str) -> None:
        """Count one answer; a route that names no source is not counted."""
        if source:
            if source not in self._sources:
                self._sources[source] = self.answers.labels(source)
            self._sources[source].inc()

    def show_circuit(self, state: CircuitState) -> None:
        """Set the circuit's gauge."""
        for other in CircuitState:
            self.redis_circuit.labels(other.value).set(other is state)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
