"""The alerting and recording rules for Prometheus, read from deploy/prometheus."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "prometheus"
FILES = ("recording.yml", "alerts.yml")


@dataclass(frozen=True)
class Rule:
    """A recording rule, named after its series, or an alert."""

    name: str
    expr: str
    alerts: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        labels = "" if self.alerts else "".join(f"{{{name}={value}}}" for name, value in self.labels.items())
        return f"{'alert' if self.alerts else 'record'} {self.name}{labels}"


def rules(folder: Path = FOLDER) -> Iterator[Rule]:
    """Yield all rules, in the order of the files."""
    for file in FILES:
        for group in yaml.safe_load((folder / file).read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                name, expr = rule.get("record", rule.get("alert")), str(rule["expr"])
                yield Rule(name, expr, "alert" in rule, rule.get("labels", {}), rule.get("annotations", {}))
