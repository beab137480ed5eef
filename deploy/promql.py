"""What a PromQL expression reads: its selectors, and the labels that it groups by."""

from dataclasses import dataclass

import promql_parser

OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


@dataclass(frozen=True)
class Selector:
    """A metric name with label matchers: `name{label="value"}`."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]  # label, operator, value

    @property
    def text(self) -> str:
        """The selector as PromQL."""
        return self.name + "{" + ", ".join(f'{label}{op}"{value}"' for label, op, value in self.matchers) + "}"


def selectors(expr: str) -> list[Selector]:
    """Return all selectors of an expression. ValueError where it is not valid PromQL."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((one.name, OPERATORS[str(one.op)], one.value) for one in node.matchers.matchers)
            found.append(Selector(node.name or "", matchers))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


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
