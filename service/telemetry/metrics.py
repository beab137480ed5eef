"""All Prometheus metrics of the service in one group a package, on one registry an application.

A function takes the narrowest group as its parameter, so that its type says which metrics it may change.
"""

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

from service.telemetry.fast_metrics import LATENCY_BUCKETS, CounterFamily, HttpMetrics, counter_from_zero
from service.telemetry.resources import anonymous_bytes, memory_limit_bytes
from service.telemetry.task_metrics import TaskMetrics

CIRCUIT_STATES = ("closed", "open", "half_open")
ENCODED_KINDS = ("text", "image")
ENCODING_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OVERLAP_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SWAP_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class UserMetrics(TaskMetrics):
    """User profiles, the arrival of new events, and hidden items."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.vectors = Counter(
            "reco_vectors",
            "User profiles by where they came from: memory, fold_in (events), redis, bundle, none.",
            ["source"],
            registry=r,
        )
        self.events_unread = Counter(
            "reco_events_unread", "Users answered without their events, which could not be read.", registry=r
        )
        self.live_polls = Counter(
            "reco_live_polls", "Polls of the event log for new events: done, error.", ["outcome"], registry=r
        )
        self.live_hears = Gauge(
            "reco_live_hears", "1 while new events of every replica reach this one promptly.", registry=r
        )
        self.live_signals = Counter(
            "reco_live_signals",
            "Messages between replicas: sent, received, bad, error.",
            ["outcome"],
            registry=r,
        )
        self.hidden_items = Gauge("reco_hidden_items", "Hidden items.", registry=r)
        self.forgotten_people = Gauge(
            "reco_forgotten_people", "Entries of the set of forgotten people: one each, and one key.", registry=r
        )
        self.forgettings = counter_from_zero(
            r, "reco_forgettings", "Requests to forget a person: done, failed.", outcome=("done", "failed")
        )
        self.forgettings_pending = Gauge(
            "reco_forgettings_pending", "Forgettings that this service has begun and not ended.", registry=r
        )


class CatalogueMetrics(TaskMetrics):
    """Stored items in the bundle that serves."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.living_items = Gauge(
            "reco_living_items",
            "Stored items: new (ranked by content), changed (trained), closed (deleted, unavailable or not ranked), "
            "waiting (for the encoder), not_ranked (no usable features).",
            ["state"],
            registry=r,
        )
        self.living_seconds = Histogram(
            "reco_living_seconds",
            "Duration of applying gathered changes of items to the bundle that serves.",
            registry=r,
            buckets=LATENCY_BUCKETS,
        )


class ExperimentMetrics(TaskMetrics):
    """Arms of the running experiment. A label `arm` is the name that answers carry."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.arm_answers = CounterFamily(
            "reco_arm_answers",
            "Answers to users by the arm that answered: own (the user's arm), diverted (to the control, as the user's "
            "arm cannot serve), forced (by force_arm).",
            ["experiment", "arm", "why"],
            r,
        )
        self.arm_unavailable = Gauge(
            "reco_arm_unavailable",
            "1 while the arm's bundle cannot serve in this process, and its users get the control.",
            ["experiment", "arm"],
            registry=r,
        )
        self.arm_ended = Gauge(
            "reco_arm_ended", "1 while an arm of the running experiment has ended.", ["experiment", "arm"], registry=r
        )
        self.sample_ratio_p = Gauge(
            "reco_experiment_sample_ratio_p",
            "The p-value of the check whether users fall into the arms by weight, valid at every look.",
            ["experiment"],
            registry=r,
        )
        self.experiment_changes = counter_from_zero(
            r,
            "reco_experiment_changes",
            "Changes of experiments that this process took up or refused (of the file): done, refused.",
            outcome=("done", "refused"),
        )
        self.shadow_requests = counter_from_zero(
            r,
            "reco_shadow_requests",
            "Requests that the shadow was to answer too: compared, dropped (the service was busy), error.",
            outcome=("compared", "dropped", "error"),
        )
        self.shadow_overlap = Histogram(
            "reco_shadow_overlap",
            "Share of the items of a shown list that the shadow lists too.",
            registry=r,
            buckets=OVERLAP_BUCKETS,
        )
        self.shadow_seconds = Histogram(
            "reco_shadow_seconds",
            "Duration of computing an answer of the shadow.",
            registry=r,
            buckets=LATENCY_BUCKETS,
        )
        self.arm_endings = Counter(
            "reco_arm_endings",
            "Arms that this process ended by a guardrail: errors, slow, coverage. Outcomes: ended, rolled_back (to the "
            "arm's bundle before), done_by_another, failed.",
            ["reason", "outcome"],
            registry=r,
        )
        for reason in ("errors", "slow", "coverage"):
            for outcome in ("ended", "rolled_back", "done_by_another", "failed"):
                self.arm_endings.labels(reason, outcome)


class RankingMetrics(TaskMetrics):
    """Search and rules."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.index_fallbacks = Counter(
            "reco_index_fallbacks", "Searches that ran on the CPU in place of a GPU: at start, or once.", registry=r
        )
        self.milvus_searches = counter_from_zero(
            r,
            "reco_milvus_searches",
            "Searches in Milvus: done, late, error, skipped (circuit open).",
            outcome=("done", "late", "error", "skipped"),
        )
        self.milvus_seconds = Histogram(
            "reco_milvus_seconds", "Duration of a search that Milvus answered.", registry=r, buckets=LATENCY_BUCKETS
        )
        self.milvus_circuit = Gauge(
            "reco_milvus_circuit", "1 for the state of the circuit to Milvus.", ["state"], registry=r
        )
        self.recall_samples = counter_from_zero(
            r,
            "reco_recall_samples",
            "Searches sampled for recall: measured, dropped (too many at once, or their bundle was replaced).",
            outcome=("measured", "dropped"),
        )
        self.recall_sampled_items = Counter(
            "reco_recall_sampled_items", "Items that exact search gives for the measured searches.", registry=r
        )
        self.recall_sampled_hits = Counter(
            "reco_recall_sampled_hits", "Those of them that the index in use gave.", registry=r
        )
        self.rules_reloads = counter_from_zero(
            r, "reco_rules_reloads", "Reloads of the rules file: done, refused.", outcome=("done", "refused")
        )

    def show_milvus_circuit(self, state: str) -> None:
        """Set the gauge of the circuit's state: closed, open or half_open."""
        for other in CIRCUIT_STATES:
            self.milvus_circuit.labels(other).set(other == state)


class EncodingMetrics(TaskMetrics):
    """Texts and pictures of new items."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.encoded = counter_from_zero(
            r, "reco_encoded", "Contents of items that were encoded: text, image.", kind=ENCODED_KINDS
        )
        self.encoding_failures = counter_from_zero(
            r, "reco_encoding_failures", "Items whose text or image could not be encoded.", kind=ENCODED_KINDS
        )
        self.encoding_seconds = Histogram(
            "reco_encoding_seconds", "Duration of one batch.", ["kind"], registry=r, buckets=ENCODING_BUCKETS
        )
        self.encoding_queue = Gauge("reco_encoding_queue", "Items that wait for their features.", registry=r)
        self.encoder_starts = Counter("reco_encoder_starts", "Starts of the encoding process.", registry=r)
        self.encoder_failures = Counter(
            "reco_encoder_failures", "Unexpected ends and timeouts of the encoding process.", registry=r
        )


class RedisMetrics(TaskMetrics):
    """The cache of user vectors in Redis."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.redis_reads = Counter(
            "reco_redis_reads",
            "Vectors read from Redis: hit, miss, bad (unusable bytes), late, error, skipped (circuit open).",
            ["outcome"],
            registry=r,
        )
        self.redis_writes = Counter(
            "reco_redis_writes", "Vectors written to Redis: done, error, dropped.", ["outcome"], registry=r
        )
        self.redis_circuit = Gauge(
            "reco_redis_circuit", "1 for the state of the circuit to Redis.", ["state"], registry=r
        )

    def show_circuit(self, state: str) -> None:
        """Set the gauge of the circuit's state: closed, open or half_open."""
        for other in CIRCUIT_STATES:
            self.redis_circuit.labels(other).set(other == state)


class SecurityMetrics(TaskMetrics):
    """API keys and rate limits."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.key_reloads = counter_from_zero(
            r, "reco_api_key_reloads", "Reloads of the API keys file: done, refused.", outcome=("done", "refused")
        )
        self.rate_limit_syncs = Counter(
            "reco_rate_limit_syncs",
            "Syncs of rate limits with Redis: done, error.",
            ["outcome"],
            registry=r,
        )


class EventMetrics(TaskMetrics):
    """The event log."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.events = Counter("reco_events", "Events written to the log, by kind.", ["kind"], registry=r)
        self.events_known = Counter("reco_events_known", "Duplicate events, which the log had already.", registry=r)
        self.events_refused = counter_from_zero(
            r,
            "reco_events_refused",
            "Events refused: overloaded, event_log_unavailable.",
            reason=("overloaded", "event_log_unavailable"),
        )
        self.events_waiting = Gauge("reco_events_waiting", "Events waiting to be written.", registry=r)
        self.event_write_seconds = Histogram(
            "reco_event_write_seconds",
            "Duration of one write to the event log (a group commit).",
            registry=r,
            buckets=LATENCY_BUCKETS,
        )
        self.impressions_dropped = Counter(
            "reco_impressions_dropped", "Impressions logged by the service that the log could not write.", registry=r
        )


class ItemMetrics(TaskMetrics):
    """The item store."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.items_stored = Gauge("reco_items_stored", "Items in the store, without deleted ones.", registry=r)
        self.items_untrained = Gauge(
            "reco_items_untrained", "Stored items that the training of the bundle has not seen.", registry=r
        )
        self.items_waiting = Gauge("reco_items_waiting", "Items waiting to be written.", registry=r)
        self.item_changes = counter_from_zero(
            r, "reco_item_changes", "Items put, patched or deleted, those that changed nothing left out.",
            kind=("put", "patch", "delete"),
        )  # fmt: skip
        self.items_refused = counter_from_zero(
            r,
            "reco_items_refused",
            "Items refused: overloaded, item_store_unavailable, too_many_items.",
            reason=("overloaded", "item_store_unavailable", "too_many_items"),
        )
        self.item_write_seconds = Histogram(
            "reco_item_write_seconds",
            "Duration of one write to the item store (a group commit).",
            registry=r,
            buckets=LATENCY_BUCKETS,
        )
        self.item_polls = counter_from_zero(
            r, "reco_item_polls", "Polls of the item store for changes: done, error.", outcome=("done", "error")
        )


class BundleMetrics(TaskMetrics):
    """The bundle that serves, swaps, rollbacks and the gate."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.bundle = Info("reco_bundle", "The bundle that serves.", registry=r)
        self.bundle_created = Gauge(
            "reco_bundle_created_timestamp_seconds",
            "Unix time at which the bundle that serves was created.",
            registry=r,
        )
        self.index_recall = Gauge(
            "reco_index_recall",
            "recall@k of the index that serves against exact search, as measured when it was built.",
            ["at"],
            registry=r,
        )
        self.index_promised = Gauge(
            "reco_index_promised_recall",
            "recall@20 that the bundle that serves promises; 0 where it promises none.",
            registry=r,
        )
        self.bundle_swaps = counter_from_zero(
            r, "reco_bundle_swaps", "Swaps to another bundle while serving: done, failed.", outcome=("done", "failed")
        )
        self.bundle_swap_seconds = Histogram(
            "reco_bundle_swap_seconds",
            "Duration of preparing a swap: open, verify, build, warm up.",
            registry=r,
            buckets=SWAP_BUCKETS,
        )
        self.bundle_behind = Gauge(
            "reco_bundle_behind",
            "1 while the registry's pointer names a bundle other than the one that serves.",
            registry=r,
        )
        self.registry_away = Gauge("reco_registry_away", "1 while the registry of bundles cannot be read.", registry=r)
        self.bundle_damaged = Gauge(
            "reco_bundle_damaged", "1 while files of the bundle that serves have changed on disk.", registry=r
        )
        self.bundles_open = Gauge("reco_bundles_open", "Bundles open: 2 during a swap, else 1.", registry=r)
        self.bundle_rollbacks = counter_from_zero(
            r,
            "reco_bundle_rollbacks",
            "Automatic rollbacks of a bad bundle: done, done_by_another, failed.",
            outcome=("done", "done_by_another", "failed"),
        )
        self.bundle_gates = Counter(
            "reco_bundle_gates", "Gate runs: passed, refused, forced, failed.", ["outcome"], registry=r
        )


class RetrainMetrics(TaskMetrics):
    """Retraining."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        self.retrain_jobs = counter_from_zero(
            r,
            "reco_retrain_jobs",
            "Ended retrainings: published, refused, failed, cancelled.",
            state=("published", "refused", "failed", "cancelled"),
        )
        self.retrain_configured = Gauge(
            "reco_retrain_configured",
            "1 where retraining is configured, so that one replica must lead.",
            registry=r,
        )
        self.retrain_running = Gauge("reco_retrain_running", "1 while this replica runs a retraining.", registry=r)
        self.retrain_leader = Gauge("reco_retrain_leader", "1 while this replica leads the retraining.", registry=r)
        self.retrain_seconds = Gauge("reco_retrain_seconds", "Duration of the last retraining.", registry=r)
        self.retrain_new_events = Gauge(
            "reco_retrain_new_events", "Events since the last retraining, counted by the leader.", registry=r
        )


class ProcessMetrics(TaskMetrics):
    """Memory, disk and limits of the process."""

    def __init__(self, r: CollectorRegistry) -> None:
        super().__init__(r)
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        self.limits = Gauge(
            "reco_limit",
            "Configured limits: requests_in_flight, connections, events_waiting, answers_bytes, profiles_bytes.",
            ["of"],
            registry=r,
        )
        self.disk_free = Gauge(
            "reco_disk_free_ratio",
            "Free share of the disk under a folder: data, with the event log.",
            ["folder"],
            registry=r,
        )
        self.kept_bytes = Gauge("reco_kept_bytes", "Cached bytes in memory: answers, profiles.", ["of"], registry=r)
        Gauge(
            "reco_memory_anonymous_bytes", "Anonymous memory of the process (resident, not file-backed).", registry=r
        ).set_function(anonymous_bytes)
        Gauge("reco_memory_limit_bytes", "The container's memory limit, or the machine's memory.", registry=r).set(
            memory_limit_bytes()
        )


class Metrics(
    HttpMetrics,
    UserMetrics,
    CatalogueMetrics,
    ExperimentMetrics,
    RankingMetrics,
    EncodingMetrics,
    RedisMetrics,
    SecurityMetrics,
    EventMetrics,
    ItemMetrics,
    BundleMetrics,
    RetrainMetrics,
    ProcessMetrics,
):
    """All groups on one registry. Label values come from fixed sets, except those of bundles, experiments and arms."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        super().__init__(self.registry)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
