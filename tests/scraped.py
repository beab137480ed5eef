"""The series on a running service's /metrics, and the parts of a PromQL expression that match none of them."""

import re
from pathlib import Path

import promql_parser
from prometheus_client.parser import text_string_to_metric_families
from servers import CREATED, publish, serving

from deploy.processes import redis_server
from deploy.promql import Selector, selectors
from deploy.rule_files import rules
from index.experiments import GivenArm, GivenExperiment
from index.records import PointerMove
from index.registry import Registry
from service.experiments.transitions import declared

TWINS = GivenExperiment(arms=(GivenArm(name="control", weight=50), GivenArm(name="twin", weight=50)))
STARTED = PointerMove(at=CREATED, by="test")

Series = list[tuple[str, dict[str, str]]]

RECORDED = {rule.name for rule in rules() if not rule.alerts}
PROMETHEUS_OWN = {"up", "ALERTS"}
PROMETHEUS_LABELS = {"namespace", "instance", "job", "slo"}  # of the target, or of a rule
FITS = {
    "=": lambda found, value: found == value,
    "!=": lambda found, value: found != value,
    "=~": lambda found, value: re.fullmatch(value, found) is not None,
    "!~": lambda found, value: re.fullmatch(value, found) is None,
}


def scraped(registry: Path) -> Series:
    """Return name and labels of every series, after requests for everything that rules and dashboards read."""
    bundle = publish(registry)
    Registry(registry).change_experiments(lambda before: declared(before, "twins", TWINS, STARTED))
    user, item = bundle.user_ids[0], bundle.item_ids[0]
    with redis_server() as redis, serving(registry=registry, redis_url=redis.connection_url) as client:
        for _ in range(2):  # the second is a hit in the response cache
            client.get(f"/recommend/{user}").raise_for_status()
        for kind in ("impression", "click"):
            client.post("/events", json={"user_id": user, "item_id": item, "kind": kind}).raise_for_status()
        text = client.get("/metrics").raise_for_status().text
    return [(one.name, one.labels) for family in text_string_to_metric_families(text) for one in family.samples]


def missing(expr: str, series: Series) -> list[str]:
    """Return the selectors of an expression that match no series."""
    return [
        one.text
        for one in selectors(expr)
        if one.name not in PROMETHEUS_OWN | RECORDED and not any(_fits(one, *found) for found in series)
    ]


def _fits(one: Selector, name: str, labels: dict[str, str]) -> bool:
    """Return whether the selector matches the series, whatever its target is."""
    ours = (matcher for matcher in one.matchers if matcher[0] not in PROMETHEUS_LABELS)
    return name == one.name and all(FITS[operator](labels.get(label, ""), value) for label, operator, value in ours)


def unknown_labels(expr: str, series: Series) -> set[str]:
    """Return the labels of an expression that none of its series has."""
    names = {one.name for one in selectors(expr)}
    known = {label for name, labels in series if name in names for label in labels}
    if "ALERTS" in names:
        known |= {"alertname", "alertstate", "severity"}
    picked = {label for one in selectors(expr) for label, _, _ in one.matchers}
    return (picked | grouping_labels(expr)) - known - PROMETHEUS_LABELS


def grouping_labels(expr: str) -> set[str]:
    """Return the labels that an expression groups or joins by, apart from those in its selectors."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            found.update(modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and modifier is not None and modifier.matching is not None:
            found.update(modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found
