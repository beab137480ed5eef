"""The rules for Prometheus as they stand in deploy/prometheus, and what any PromQL asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import promql_parser
import yaml

FOLDER = Path(__file__).parent / "prometheus"
FILES = ("recording.yml", "alerts.yml")


@dataclass(frozen=True)
class Rule:
    """A recording rule by the name of its series, or an alert."""

    name: str
    expr: str
    alerts: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        labels = "" if self.alerts else "".join(f"{{{name}={value}}}" for name, value in self.labels.items())
        return f"{'alert' if self.alerts else 'record'} {self.name}{labels}"


def rules(folder: Path = FOLDER) -> Iterator[Rule]:
    """All rules, in the order of the files."""
    for file in FILES:
        for group in yaml.safe_load((folder / file).read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                name, expr = rule.get("record", rule.get("alert")), str(rule["expr"])
                yield Rule(name, expr, "alert" in rule, rule.get("labels", {}), rule.get("annotations", {}))


@dataclass(frozen=True)
class MixRequest:
    """The series that one selector of an expression picks: `name{label="value"}`."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]  # label, operator, value

    @property
    def selector(self) -> str:
        """As PromQL."""
        return self.name + "{" + ", ".join(f'{label}{op}"{value}"' for label, op, value in self.matchers) + "}"


OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def asked(expr: str) -> list[MixRequest]:
    """What an expression asks for; ValueError where it is no PromQL."""
    found: list[MixRequest] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((one.name, OPERATORS[str(one.op)], one.value) for one in node.matchers.matchers)
            found.append(MixRequest(node.name or "", matchers))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def grouping(expr: str) -> set[str]:
    """The labels that an expression groups or matches by, beside those that its selectors name."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
            found.update(modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and modifier is not None and modifier.matching is not None:
            found.update(modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found
