"""The panels of the dashboards: rows of panels with title, unit, and PromQL by legend.

`$in` stands for the selected namespace, `$rate` for a window that fits the zoom.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PAGES = 'route=~"/(recommend|similar|popular|trending).*", route!="/recommend/batch"'  # as in the latency objective
NO_PROBES = 'route!~"/healthz|/readyz|/metrics"'


@dataclass(frozen=True)
class Panel:
    """One panel: a graph of its queries, or with `current_value` a number."""

    title: str
    unit: str
    queries: Mapping[str, str]
    description: str = ""
    current_value: bool = False
    good_from: float | None = None  # with current_value: red below, green from here on
    stacked: bool = False


Rows = Mapping[str, tuple[Panel, ...]]


def quantile(q: float, histogram: str, by: str = "") -> str:
    """Return PromQL for a quantile of a histogram; `histogram` is `name_bucket{labels}`."""
    return f"histogram_quantile({q}, sum by ({'le, ' + by if by else 'le'}) (rate({histogram}[$rate])))"


def rate_by(label: str, counter: str) -> dict[str, str]:
    """Return a query for the rate per second, with one line for each value of the label."""
    return {"{{" + label + "}}": f"sum by ({label}) (rate({counter}[$rate]))"}


SERVING: Rows = {
    "Objectives": (
        Panel(
            "Budget left of 30 days",
            "percentunit",
            {"{{slo}}": "slo:budget_left:ratio{$in}"},
            "The objectives are defined in docs/slo.md.",
            current_value=True,
            good_from=0,
        ),
        Panel(
            "Burn rate over an hour",
            "none",
            {"{{slo}}": "slo:burn_rate:1h{$in}"},
            "At 1 the budget lasts exactly 30 days; an alert pages at 14.4.",
        ),
        Panel(
            "Firing alerts",
            "none",
            {"{{alertname}}": 'count by (alertname) (ALERTS{$in, alertstate="firing"})'},
            "docs/runbook.md has a section for each alert.",
        ),
    ),
    "Traffic and errors": (
        Panel("Requests", "reqps", rate_by("route", f"reco_requests_total{{$in, {NO_PROBES}}}"), stacked=True),
        Panel(
            "Server errors",
            "reqps",
            rate_by("status", f'reco_requests_total{{$in, {NO_PROBES}, status=~"5.."}}'),
            "503: overload, or a store is unavailable; 504: timeout; 500: see the log.",
        ),
        Panel("Errors by code", "reqps", rate_by("code", "reco_errors_total{$in}")),
        Panel(
            "Requests in flight",
            "none",
            {
                "{{instance}}": "max by (instance) (reco_requests_in_flight{$in})",
                "limit": 'min(reco_limit{$in, of="requests_in_flight"})',
            },
        ),
    ),
    "Latency": (
        Panel(
            "Recommendations, similar items, popular lists",
            "s",
            {f"p{q}": quantile(q / 100, f"reco_request_seconds_bucket{{$in, {PAGES}}}") for q in (50, 95, 99)},
        ),
        Panel(
            "p99 by route",
            "s",
            {"{{route}}": quantile(0.99, f"reco_request_seconds_bucket{{$in, {NO_PROBES}}}", "route")},
        ),
        Panel("p95 by stage", "s", {"{{stage}}": quantile(0.95, "reco_stage_seconds_bucket{$in}", "stage")}),
        Panel(
            "Time by stage",
            "percentunit",
            rate_by("stage", "reco_stage_seconds_sum{$in}"),
            "Seconds per second, all replicas together.",
            stacked=True,
        ),
    ),
    "Sources of responses": (
        Panel("Responses by source", "reqps", rate_by("source", "reco_answers_total{$in}"), stacked=True),
        Panel(
            "User vectors by source",
            "reqps",
            rate_by("source", "reco_vectors_total{$in}"),
            "memory: the profile cache of the process; fold_in: computed from events.",
            stacked=True,
        ),
        Panel(
            "Hit ratio of the profile cache",
            "percentunit",
            {
                "share": 'sum(rate(reco_vectors_total{$in, source="memory"}[$rate])) '
                "/ sum(rate(reco_vectors_total{$in}[$rate]))"
            },
        ),
        Panel(
            "Hit ratio of the response cache",
            "percentunit",
            {
                "share": 'sum(rate(reco_stage_seconds_count{$in, stage="kept"}[$rate])) '
                f"/ sum(rate(reco_request_seconds_count{{$in, {PAGES}}}[$rate]))"
            },
        ),
    ),
    "Redis": (
        Panel(
            "Vectors read from Redis",
            "reqps",
            rate_by("outcome", "reco_redis_reads_total{$in}"),
            "late, error, skipped: the bundle's vector was used instead.",
            stacked=True,
        ),
        Panel("Vectors written to Redis", "wps", rate_by("outcome", "reco_redis_writes_total{$in}")),
        Panel(
            "Circuit breaker closed",
            "none",
            {"{{instance}}": 'min by (instance) (reco_redis_circuit{$in, state="closed"})'},
            "1: closed, Redis is used; 0: open or half-open.",
        ),
        Panel(
            "Messages between replicas, rate limits synchronized",
            "ops",
            {
                "messages {{outcome}}": "sum by (outcome) (rate(reco_live_signals_total{$in}[$rate]))",
                "limits {{outcome}}": "sum by (outcome) (rate(reco_rate_limit_syncs_total{$in}[$rate]))",
            },
        ),
    ),
    "Milvus": (
        Panel(
            "Searches in Milvus",
            "reqps",
            rate_by("outcome", "reco_milvus_searches_total{$in}"),
            "late, error, skipped: the bundle's own index answered, or the request was refused.",
            stacked=True,
        ),
        Panel(
            "Duration of searches in Milvus",
            "s",
            {
                "p99": "histogram_quantile(0.99, sum by (le) (rate(reco_milvus_seconds_bucket{$in}[$rate])))",
                "p50": "histogram_quantile(0.50, sum by (le) (rate(reco_milvus_seconds_bucket{$in}[$rate])))",
            },
        ),
    ),
    "Replicas": (
        Panel("Scraped replicas", "none", {"up": 'sum(up{$in, job="anchorrec"})'}, current_value=True, good_from=1),
        Panel(
            "Memory",
            "bytes",
            {
                "{{instance}} own": "max by (instance) (reco_memory_anonymous_bytes{$in})",
                "{{instance}} resident": 'max by (instance) (process_resident_memory_bytes{$in, job="anchorrec"})',
                "limit": "min(reco_memory_limit_bytes{$in})",
            },
            "Resident memory includes mapped files of the bundle, which the kernel may evict.",
        ),
        Panel(
            "Cores used",
            "none",
            {"{{instance}}": 'max by (instance) (rate(process_cpu_seconds_total{$in, job="anchorrec"}[$rate]))'},
            "A replica uses one core for requests: near 1 it is saturated.",
        ),
        Panel(
            "Uptime",
            "s",
            {"{{instance}}": 'time() - max by (instance) (process_start_time_seconds{$in, job="anchorrec"})'},
        ),
    ),
}

LEARNING: Rows = {
    "Bundle": (
        Panel(
            "Age of the oldest bundle in use",
            "s",
            {"age": "time() - min(reco_bundle_created_timestamp_seconds{$in})"},
            current_value=True,
        ),
        Panel(
            "Replicas by bundle",
            "none",
            {"{{bundle_id}}": "count by (bundle_id) (reco_bundle_info{$in})"},
        ),
        Panel(
            "Behind the registry, registry unavailable, damaged, open bundles",
            "none",
            {
                "behind": "sum(reco_bundle_behind{$in})",
                "registry unavailable": "sum(reco_registry_away{$in})",
                "damaged": "sum(reco_bundle_damaged{$in})",
                "most open": "max(reco_bundles_open{$in})",
            },
            "Number of replicas; during a swap two bundles are open.",
        ),
        Panel(
            "Recall of the index against exact search",
            "percentunit",
            {"recall@{{at}}": "min by (at) (reco_index_recall{$in})"},
            "Measured when the index was built.",
        ),
        Panel(
            "Recall of sampled searches in the last hour",
            "percentunit",
            {
                "sampled": "sum(increase(reco_recall_sampled_hits_total{$in}[1h])) "
                "/ (sum(increase(reco_recall_sampled_items_total{$in}[1h])) > 0) "
                'or min(reco_index_recall{$in, at="20"})',
                "promised": "max(reco_index_promised_recall{$in})",
            },
            "Where none were sampled, such as with an exact index: the recall of the build. Promised 0: nothing.",
        ),
        Panel(
            "Swaps and rollbacks in the last hour",
            "none",
            {
                "swap {{outcome}}": "sum by (outcome) (increase(reco_bundle_swaps_total{$in}[1h]))",
                "rollback {{outcome}}": "sum by (outcome) (increase(reco_bundle_rollbacks_total{$in}[1h]))",
            },
        ),
        Panel(
            "Duration of a swap",
            "s",
            {
                "mean of an hour": "sum(rate(reco_bundle_swap_seconds_sum{$in}[1h])) "
                "/ sum(rate(reco_bundle_swap_seconds_count{$in}[1h]))"
            },
        ),
    ),
    "Experiments": (
        Panel(
            "Answers by arm",
            "reqps",
            rate_by("arm", "reco_arm_answers_total{$in}"),
            "Of the running experiment; diverted ones are the control's.",
            stacked=True,
        ),
        Panel(
            "Arms that cannot serve, or have ended",
            "none",
            {
                "{{arm}} unavailable": "sum by (arm) (reco_arm_unavailable{$in})",
                "{{arm}} ended": "max by (arm) (reco_arm_ended{$in})",
            },
            "Number of replicas; docs/experiments.md.",
        ),
        Panel(
            "Users by weight: p-value",
            "none",
            {"{{experiment}}": "min by (experiment) (reco_experiment_sample_ratio_p{$in})"},
            "Below 0.001 the users do not fall into the arms by weight.",
        ),
    ),
    "Gate and retraining": (
        Panel(
            "Gate results within six hours",
            "none",
            {"{{outcome}}": "sum by (outcome) (increase(reco_bundle_gates_total{$in}[6h]))"},
        ),
        Panel(
            "Retrainings finished within a day",
            "none",
            {"{{state}}": "sum by (state) (increase(reco_retrain_jobs_total{$in}[1d]))"},
        ),
        Panel(
            "Retraining: running, leaders, configured",
            "none",
            {
                "running": "max(reco_retrain_running{$in})",
                "leaders": "sum(reco_retrain_leader{$in})",
                "configured": "max(reco_retrain_configured{$in})",
            },
        ),
        Panel(
            "Events since the last retraining",
            "none",
            {"events": "max(reco_retrain_new_events{$in})"},
            "Counted by the leader where RECO_RETRAIN_AFTER_EVENTS is set.",
        ),
        Panel("Duration of the last retraining", "s", {"total": "max(reco_retrain_seconds{$in})"}, current_value=True),
    ),
    "Events": (
        Panel("Accepted events", "ops", rate_by("kind", "reco_events_total{$in}"), stacked=True),
        Panel(
            "Refused and repeated events",
            "ops",
            {
                "{{reason}}": "sum by (reason) (rate(reco_events_refused_total{$in}[$rate]))",
                "repeated": "sum(rate(reco_events_known_total{$in}[$rate]))",
                "own impressions dropped": "sum(rate(reco_impressions_dropped_total{$in}[$rate]))",
            },
        ),
        Panel(
            "Events waiting to be stored",
            "none",
            {
                "{{instance}}": "max by (instance) (reco_events_waiting{$in})",
                "limit": 'min(reco_limit{$in, of="events_waiting"})',
            },
        ),
        Panel(
            "Write to the event log",
            "s",
            {f"p{q}": quantile(q / 100, "reco_event_write_seconds_bucket{$in}") for q in (50, 99)},
        ),
        Panel(
            "Free disk space for the event log",
            "percentunit",
            {"{{instance}}": "min by (instance) (reco_disk_free_ratio{$in})"},
        ),
        Panel(
            "Events applied to responses",
            "none",
            {
                "{{instance}} receives events": "min by (instance) (reco_live_hears{$in})",
                "responses without the user's events, per second": "sum(rate(reco_events_unread_total{$in}[$rate]))",
                "polls {{outcome}}, per second": "sum by (outcome) (rate(reco_live_polls_total{$in}[$rate]))",
            },
        ),
    ),
    "Quality": (
        Panel(
            "Events per impression",
            "percentunit",
            {
                "{{kind}}": 'sum by (kind) (rate(reco_events_total{$in, kind=~"click|like|purchase|dislike"}[$rate])) '
                '/ on () group_left () sum(rate(reco_events_total{$in, kind="impression"}[$rate]))'
            },
            "All events as they arrive; GET /quality attributes clicks to responses, by bundle.",
        ),
        Panel("Hidden items", "none", {"items": "max(reco_hidden_items{$in})"}, current_value=True),
    ),
}
