"""The rules for Prometheus use existing series, and every alert has a runbook section and a test.

`make check-alerts` runs them in Prometheus and needs promtool.
"""

import re
from pathlib import Path

import pytest
import yaml
from scraped import Series, grouping_labels, missing, unknown_labels

from deploy.panels import PAGES
from deploy.promql import selectors
from deploy.rule_files import FOLDER, Rule, rules
from index.gate_report import GateLimits

ALL = list(rules())
ALERTS = [rule for rule in ALL if rule.alerts]
RUNBOOK = Path("docs/runbook.md")
RULE_TESTS = Path("tests/deploy/rules")


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_a_rule_uses_series_and_labels_that_a_running_service_has(rule: Rule, series: Series) -> None:
    assert missing(rule.expr, series) == []
    assert unknown_labels(rule.expr, series) == set()


def test_an_unknown_series_or_label_is_detected(series: Series) -> None:
    expr = 'sum by (nowhere) (rate(reco_requests_total{status="200"}[5m])) / sum(reco_nothing{a="b"})'
    assert missing(expr, series) == ['reco_nothing{a="b"}']
    assert unknown_labels(expr, series) == {"nowhere", "a"}
    assert missing('reco_events_refused_total{reason="mistyped"}', series) != []
    with pytest.raises(ValueError, match="unclosed"):
        selectors("sum by (rate(")


@pytest.mark.parametrize("rule", ALERTS, ids=str)
def test_an_alert_says_how_urgent_it_is_and_what_happened_and_leads_to_its_section(rule: Rule) -> None:
    assert rule.labels["severity"] in ("page", "ticket")
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["runbook_url"] == f"{RUNBOOK}#{rule.name.lower()}"


def test_the_summary_of_an_alert_names_labels_that_it_has() -> None:
    for rule in ALERTS:
        named = set(re.findall(r"\$labels\.(\w+)", rule.annotations["summary"]))
        if "by (" in rule.expr:  # what is summed has the labels that it was summed by, and no others
            assert named <= grouping_labels(rule.expr) | {"slo"}, rule.name


def test_rules_have_names_of_their_own() -> None:
    alerts = [rule.name for rule in ALERTS]
    series = [(rule.name, rule.labels.get("slo")) for rule in ALL if not rule.alerts]
    assert len(set(alerts)) == len(alerts)
    assert len(set(series)) == len(series)


def test_every_objective_has_all_bad_and_a_budget() -> None:
    by_slo: dict[str, set[str]] = {}
    for rule in ALL:
        if not rule.alerts and "slo" in rule.labels:
            by_slo.setdefault(rule.labels["slo"], set()).add(rule.name)
    assert set(by_slo) == {"availability", "latency", "redis", "freshness", "recall"}
    assert all(names == {"slo:all:rate5m", "slo:bad:rate5m", "slo:budget:ratio"} for names in by_slo.values())


def test_limits_in_several_places_are_equal() -> None:
    bad = {rule.labels["slo"]: rule.expr for rule in ALL if rule.name == "slo:bad:rate5m"}
    by_name = {rule.name: rule.expr for rule in ALERTS}
    assert "48 * 3600" in bad["freshness"]
    assert "48 * 3600" in by_name["RecoBundleStale"]
    floor = GateLimits().index_recall_floor  # the gate lets nothing below it through
    assert bad["recall"].endswith(f"< bool {floor}")
    assert by_name["RecoRecallLow"].endswith(f"< {floor}")
    (least,) = (rule.expr for rule in ALL if rule.name == "reco:recall_floor")
    assert least.endswith(f", {floor})")
    assert bad["latency"].count(PAGES) == 2  # the panel of latencies shows what the objective is about


def test_every_alert_was_seen_to_fire_and_most_to_be_silent() -> None:
    fired, silent = set(), set()
    for file in RULE_TESTS.glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fired if case["exp_alerts"] else silent).add(case["alertname"])
    assert fired == {rule.name for rule in ALERTS}
    assert silent


def test_prometheus_reads_both_files_and_scrapes_under_the_name_that_the_alerts_know() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert {FOLDER / name for name in config["rule_files"]} == set(FOLDER.glob("*.yml")) - {FOLDER / "prometheus.yml"}
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    jobs_selected = {
        value for rule in ALL for one in selectors(rule.expr) for label, _, value in one.matchers if label == "job"
    }
    assert jobs_selected <= jobs
