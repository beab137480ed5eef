"""The selectors of a PromQL expression."""

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
