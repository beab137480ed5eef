"""The alerts that the health view evaluates are those of deploy/prometheus/alerts.yml, and hold when these hold."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from console_scripts import SEEN, STARTED, in_node, metrics

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
SECONDS = {"s": 1, "m": 60, "h": 3_600}
OWN = 'const { ALERTS, NEEDS_PROMETHEUS, evaluate } = await load("alerts.ts");'
HOLDING = """
    let holding = [];
    const told = [];
    for (let n = 1; n <= samples.length; n++) {
        holding = evaluate(new History(samples.slice(0, n)), holding);
        const found = holding.find(({ alert }) => alert.name === given.name);
        told.push(found === undefined ? "quiet" : found.fires ? "fires" : "pending");
    }
    return told;
"""


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smh])", text)
    assert found is not None
    return int(found[1]) * SECONDS[found[2]]


def one_line(expression: str) -> str:
    return " ".join(expression.split())


def test_every_alert_is_evaluated_by_its_own_rule_or_said_to_need_prometheus() -> None:
    own, others = in_node(f"{OWN} return [ALERTS, Object.keys(NEEDS_PROMETHEUS)];")
    evaluated = {one["name"]: (one_line(one["expr"]), one["forS"], one["severity"]) for one in own}
    expected = {
        name: (one_line(rule["expr"]), seconds(rule.get("for", "0s")), rule["labels"]["severity"])
        for name, rule in rules().items()
        if name not in others
    }
    assert evaluated == expected
    assert set(others) <= set(rules())


def told(name: str, *texts: str, every: float = 30) -> list[str]:
    """quiet, pending or fires at each of the samples."""
    given = {"texts": texts, "first": STARTED + 10_000, "every": every, "name": name}
    found: list[str] = in_node(OWN + SEEN + HOLDING, given)
    return found


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("RecoMemoryNearLimit", {"reco_memory_anonymous_bytes": 86}, {"reco_memory_anonymous_bytes": 85}),
        ("RecoBundleStale", {"reco_bundle_created_timestamp_seconds": STARTED - 200_000}, {}),
        ("RecoRecallLow", {'reco_index_recall{at="20"}': 0.949}, {'reco_index_recall{at="20"}': 0.95}),
        ("RecoEventsNotFelt", {"reco_live_hears": 0}, {"reco_live_hears": 1}),
        ("RecoRedisAway", {'reco_redis_circuit{state="closed"}': 0}, {'reco_redis_circuit{state="closed"}': 1}),
        ("RecoDiskFills", {'reco_disk_free_ratio{folder="data"}': 0.09}, {'reco_disk_free_ratio{folder="data"}': 0.1}),
        ("RecoEventsWait", {"reco_events_waiting": 51}, {"reco_events_waiting": 50}),
        ("RecoBackgroundTaskFails", {'reco_background_task_up{task="audit"}': 0}, {}),
    ],
)
def test_a_gauge_beyond_its_threshold_is_told_and_one_at_it_is_not(
    name: str, bad: dict[str, float], good: dict[str, float]
) -> None:
    limits = {"reco_memory_limit_bytes": 100.0, 'reco_limit{of="events_waiting"}': 100.0}
    assert told(name, metrics(start=0, **limits, **good)) == ["quiet"]
    assert told(name, metrics(start=0, **limits, **bad)) in (["pending"], ["fires"])


def test_an_alert_is_pending_until_it_has_held_for_as_long_as_prometheus_waits() -> None:
    away, here = metrics(reco_registry_away=1), metrics(reco_registry_away=0)
    assert told("RecoRegistryAway", here, away, away, away, away, every=100) == [
        "quiet", "pending", "pending", "pending", "fires"
    ]  # fmt: skip
    assert told("RecoRegistryAway", away, away, here, away, every=200)[2:] == ["quiet", "pending"]


@pytest.mark.parametrize("name", ["RecoFileRefused", "RecoGateRefuses", "RecoRetrainingFails", "RecoRolledBack"])
def test_a_counter_fires_when_it_grows_and_not_for_what_it_had_before_the_page_was_opened(name: str) -> None:
    series = {
        "RecoFileRefused": 'reco_rules_reloads_total{outcome="refused"}',
        "RecoGateRefuses": 'reco_bundle_gates_total{outcome="failed"}',
        "RecoRetrainingFails": 'reco_retrain_jobs_total{state="failed"}',
        "RecoRolledBack": 'reco_bundle_rollbacks_total{outcome="done"}',
    }[name]
    old = -50_000
    before, after = metrics(start=old, **{series: 2}), metrics(start=old, **{series: 3})
    assert told(name, before, before, after) == ["quiet", "quiet", "fires"]
    young = metrics(start=STARTED + 9_000, **{series: 1})
    assert told(name, young) == ["fires"]  # all that the process counted is of the last hour


def test_overload_is_the_share_of_refused_among_all_requests_but_probes() -> None:
    busy = 'reco_errors_total{code="busy"}'
    probes = 'reco_requests_total{method="GET",route="/readyz",status="200"}'
    first = metrics(0, start=0, **{busy: 0, probes: 0})
    assert told("RecoSheds", first, metrics(100, start=0, **{busy: 1, probes: 0}))[1] == "quiet"
    assert told("RecoSheds", first, metrics(100, start=0, **{busy: 2, probes: 9_000}))[1] == "pending"
