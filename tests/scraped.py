"""What a running service shows on /metrics, and what of a PromQL expression it does not show."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from servers import publish, serving

from deploy.processes import redis_server
from deploy.rule_files import MixRequest, asked, grouping, rules

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
    """Name and labels of every series, once the service was asked for everything that rules and dashboards look at."""
    bundle = publish(registry)
    user, item = bundle.user_ids[0], bundle.item_ids[0]
    with redis_server() as redis, serving(registry=registry, redis_url=redis.connection_url) as client:
        for _ in range(2):  # the second is an answer kept from the first
            client.get(f"/recommend/{user}").raise_for_status()
        for kind in ("impression", "click"):
            client.post("/events", json={"user_id": user, "item_id": item, "kind": kind}).raise_for_status()
        text = client.get("/metrics").raise_for_status().text
    return [(one.name, one.labels) for family in text_string_to_metric_families(text) for one in family.samples]


def missing(expr: str, series: Series) -> list[str]:
    """What the expression asks for and nothing shows."""
    return [
        one.selector
        for one in asked(expr)
        if one.name not in PROMETHEUS_OWN | RECORDED and not any(_fits(one, *found) for found in series)
    ]


def _fits(one: MixRequest, name: str, labels: dict[str, str]) -> bool:
    """Whether Prometheus would pick the series, whatever target it came from."""
    ours = (matcher for matcher in one.matchers if matcher[0] not in PROMETHEUS_LABELS)
    return name == one.name and all(FITS[operator](labels.get(label, ""), value) for label, operator, value in ours)


def unknown_labels(expr: str, series: Series) -> set[str]:
    """What the expression groups by or picks by and no series that it asks for has."""
    names = {one.name for one in asked(expr)}
    known = {label for name, labels in series if name in names for label in labels}
    if "ALERTS" in names:
        known |= {"alertname", "alertstate", "severity"}
    picked = {label for one in asked(expr) for label, _, _ in one.matchers}
    return (picked | grouping(expr)) - known - PROMETHEUS_LABELS
