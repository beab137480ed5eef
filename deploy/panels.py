"""What the dashboards show: rows of panels, each a title, a unit, and PromQL by legend.

`$in` stands for the deployment that is chosen above the dashboard, `$rate` for a window that fits the zoom.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PAGES = 'route=~"/(recommend|similar|popular|trending).*", route!="/recommend/batch"'  # as in the latency objective
NO_PROBES = 'route!~"/healthz|/readyz|/metrics"'


@dataclass(frozen=True)
class Panel:
    """One panel: the course of its queries, or with `at_once` their value of now as a number."""

    title: str
    unit: str
    queries: Mapping[str, str]
    about: str = ""
    at_once: bool = False
    good_from: float | None = None  # at_once: red below, green from here on
    stacked: bool = False


Rows = Mapping[str, tuple[Panel, ...]]


def quantile(q: float, histogram: str, by: str = "") -> str:
    """PromQL for a quantile of a histogram; `histogram` is `name_bucket{labels}`."""
    return f"histogram_quantile({q}, sum by ({'le, ' + by if by else 'le'}) (rate({histogram}[$rate])))"


def rate_by(label: str, counter: str) -> dict[str, str]:
    """One line for each value of the label: how often a second."""
    return {"{{" + label + "}}": f"sum by ({label}) (rate({counter}[$rate]))"}


SERVING: Rows = {
    "Objectives": (
        Panel(
            "Budget left of 30 days",
            "percentunit",
            {"{{slo}}": "slo:budget_left:ratio{$in}"},
            "docs/slo.md says what each objective is.",
            at_once=True,
            good_from=0,
        ),
        Panel(
            "Burn rate over an hour",
            "none",
            {"{{slo}}": "slo:burn_rate:1h{$in}"},
            "At 1 the budget lasts just 30 days; somebody is woken at 14.4.",
        ),
        Panel(
            "Alerts that fire",
            "none",
            {"{{alertname}}": 'count by (alertname) (ALERTS{$in, alertstate="firing"})'},
            "docs/runbook.md has a section for each.",
        ),
    ),
    "Traffic and errors": (
        Panel("Requests", "reqps", rate_by("route", f"reco_requests_total{{$in, {NO_PROBES}}}"), stacked=True),
        Panel(
            "Failures of ours",
            "reqps",
            rate_by("status", f'reco_requests_total{{$in, {NO_PROBES}, status=~"5.."}}'),
            "503: shed, or a store is away; 504: took too long; 500: see the log.",
        ),
        Panel("Refusals and failures by code", "reqps", rate_by("code", "reco_errors_total{$in}")),
        Panel(
            "In flight",
            "none",
            {
                "{{instance}}": "max by (instance) (reco_requests_in_flight{$in})",
                "limit": 'min(reco_limit{$in, of="requests_in_flight"})',
            },
        ),
    ),
    "Latency": (
        Panel(
            "Pages: recommendations, neighbours, lists",
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
            "Time spent by stage",
            "percentunit",
            rate_by("stage", "reco_stage_seconds_sum{$in}"),
            "Seconds of each second, all replicas together.",
            stacked=True,
        ),
    ),
    "Where answers come from": (
        Panel("Answers by source", "reqps", rate_by("source", "reco_answers_total{$in}"), stacked=True),
        Panel(
            "Users by where what is known of them came from",
            "reqps",
            rate_by("source", "reco_vectors_total{$in}"),
            "memory is the cache of this process; fold_in: made of events.",
            stacked=True,
        ),
        Panel(
            "Users found in memory",
            "percentunit",
            {
                "share": 'sum(rate(reco_vectors_total{$in, source="memory"}[$rate])) '
                "/ sum(rate(reco_vectors_total{$in}[$rate]))"
            },
        ),
        Panel(
            "Answers kept from before",
            "percentunit",
            {
                "share": 'sum(rate(reco_stage_seconds_count{$in, stage="kept"}[$rate])) '
                f"/ sum(rate(reco_request_seconds_count{{$in, {PAGES}}}[$rate]))"
            },
        ),
    ),
    "Redis": (
        Panel(
            "Vectors asked of Redis",
            "reqps",
            rate_by("outcome", "reco_redis_reads_total{$in}"),
            "late, error, skipped: answered from the bundle instead.",
            stacked=True,
        ),
        Panel("Vectors written", "wps", rate_by("outcome", "reco_redis_writes_total{$in}")),
        Panel(
            "Circuit closed",
            "none",
            {"{{instance}}": 'min by (instance) (reco_redis_circuit{$in, state="closed"})'},
            "1: Redis is used; 0: it is left alone.",
        ),
        Panel(
            "News between replicas, rate limits settled",
            "ops",
            {
                "news {{outcome}}": "sum by (outcome) (rate(reco_live_signals_total{$in}[$rate]))",
                "limits {{outcome}}": "sum by (outcome) (rate(reco_rate_limit_syncs_total{$in}[$rate]))",
            },
        ),
    ),
    "Replicas": (
        Panel("Replicas that are scraped", "none", {"up": 'sum(up{$in, job="anchorrec"})'}, at_once=True, good_from=1),
        Panel(
            "Memory",
            "bytes",
            {
                "{{instance}} own": "max by (instance) (reco_memory_anonymous_bytes{$in})",
                "{{instance}} resident": 'max by (instance) (process_resident_memory_bytes{$in, job="anchorrec"})',
                "limit": "min(reco_memory_limit_bytes{$in})",
            },
            "Resident counts mapped files of the bundle, which the kernel may drop.",
        ),
        Panel(
            "Cores used",
            "none",
            {"{{instance}}": 'max by (instance) (rate(process_cpu_seconds_total{$in, job="anchorrec"}[$rate]))'},
            "Answers are made on one core: near 1 a replica is full.",
        ),
        Panel(
            "Time since the start",
            "s",
            {"{{instance}}": 'time() - max by (instance) (process_start_time_seconds{$in, job="anchorrec"})'},
        ),
    ),
}

LEARNING: Rows = {
    "Bundle": (
        Panel(
            "Age of the oldest bundle that serves",
            "s",
            {"age": "time() - min(reco_bundle_created_timestamp_seconds{$in})"},
            at_once=True,
        ),
        Panel(
            "Replicas by the bundle that they serve",
            "none",
            {"{{bundle_id}}": "count by (bundle_id) (reco_bundle_info{$in})"},
        ),
        Panel(
            "Behind the registry, without it, damaged, open at once",
            "none",
            {
                "behind": "sum(reco_bundle_behind{$in})",
                "registry away": "sum(reco_registry_away{$in})",
                "damaged": "sum(reco_bundle_damaged{$in})",
                "most open": "max(reco_bundles_open{$in})",
            },
            "Replicas that are; two bundles are open during a swap.",
        ),
        Panel(
            "Recall of the index against exact search",
            "percentunit",
            {"recall@{{at}}": "min by (at) (reco_index_recall{$in})"},
            "As measured when it was built.",
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
            "Making a bundle ready to serve",
            "s",
            {
                "mean of an hour": "sum(rate(reco_bundle_swap_seconds_sum{$in}[1h])) "
                "/ sum(rate(reco_bundle_swap_seconds_count{$in}[1h]))"
            },
        ),
    ),
    "Gate and retraining": (
        Panel(
            "Bundles at the gate in six hours",
            "none",
            {"{{outcome}}": "sum by (outcome) (increase(reco_bundle_gates_total{$in}[6h]))"},
        ),
        Panel(
            "Retrainings that ended in a day",
            "none",
            {"{{state}}": "sum by (state) (increase(reco_retrain_jobs_total{$in}[1d]))"},
        ),
        Panel(
            "Under way, led",
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
            "As the leader counts them, where RECO_RETRAIN_AFTER_EVENTS is set.",
        ),
        Panel("The last retraining took", "s", {"in all": "max(reco_retrain_seconds{$in})"}, at_once=True),
    ),
    "Events": (
        Panel("Events taken in", "ops", rate_by("kind", "reco_events_total{$in}"), stacked=True),
        Panel(
            "Not taken in, or known already",
            "ops",
            {
                "{{reason}}": "sum by (reason) (rate(reco_events_refused_total{$in}[$rate]))",
                "known already": "sum(rate(reco_events_known_total{$in}[$rate]))",
                "own impressions dropped": "sum(rate(reco_impressions_dropped_total{$in}[$rate]))",
            },
        ),
        Panel(
            "Waiting to become durable",
            "none",
            {
                "{{instance}}": "max by (instance) (reco_events_waiting{$in})",
                "limit": 'min(reco_limit{$in, of="events_waiting"})',
            },
        ),
        Panel(
            "One write of the log",
            "s",
            {f"p{q}": quantile(q / 100, "reco_event_write_seconds_bucket{$in}") for q in (50, 99)},
        ),
        Panel(
            "Free disk under the log", "percentunit", {"{{instance}}": "min by (instance) (reco_disk_free_ratio{$in})"}
        ),
        Panel(
            "Felt in answers",
            "none",
            {
                "{{instance}} hears": "min by (instance) (reco_live_hears{$in})",
                "users answered without their events, a second": "sum(rate(reco_events_unread_total{$in}[$rate]))",
                "looks {{outcome}}, a second": "sum by (outcome) (rate(reco_live_polls_total{$in}[$rate]))",
            },
        ),
    ),
    "Quality": (
        Panel(
            "For each impression",
            "percentunit",
            {
                "{{kind}}": 'sum by (kind) (rate(reco_events_total{$in, kind=~"click|like|purchase|dislike"}[$rate])) '
                '/ on () group_left () sum(rate(reco_events_total{$in, kind="impression"}[$rate]))'
            },
            "By events as they come; GET /quality joins clicks to the answers that they follow, by bundle.",
        ),
        Panel("Hidden items", "none", {"items": "max(reco_hidden_items{$in})"}, at_once=True),
    ),
}
