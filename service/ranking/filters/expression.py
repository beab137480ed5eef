"""A filter as a tree: comparisons of attributes with values, joined by and, or, not. `str` gives its normal form."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

KEYWORDS = frozenset({"and", "or", "not", "in", "contains", "exists", "true", "false", "now"})
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}  # in which the normal form gives a duration
_BARE = re.compile(r"[^\W\d][\w.-]*")


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float
    kind = "a number"

    def __str__(self) -> str:
        whole = self.value.is_integer() and abs(self.value) < 1e15
        return str(int(self.value)) if whole else repr(self.value)


@dataclass(frozen=True, slots=True)
class Text:
    """Text, which stands in quotes or is a single word."""

    value: str
    kind = "text"

    def __str__(self) -> str:
        return _quoted(self.value, '"')


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    value: bool
    kind = "true or false"

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as it was written, and in unix seconds."""

    text: str
    seconds: float
    kind = "a time"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class FromNow:
    """A time so many seconds after now, or before it where they are negative."""

    seconds: float
    kind = "a time"

    def __str__(self) -> str:
        if not self.seconds:
            return "now"
        unit, seconds = next((unit, s) for unit, s in _UNITS.items() if self.seconds % s == 0)
        return f"now {'-' if self.seconds < 0 else '+'} {abs(self.seconds) / seconds:.0f}{unit}"


Value: TypeAlias = Number | Text | Boolean | Moment | FromNow


@dataclass(frozen=True, slots=True)
class Comparison:
    """`price < 30`."""

    name: str
    operator: Operator
    value: Value

    def __str__(self) -> str:
        return f"{name_text(self.name)} {self.operator} {self.value}"


@dataclass(frozen=True, slots=True)
class Membership:
    """`colour in [red, blue]`."""

    name: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{name_text(self.name)} in [{', '.join(map(str, self.values))}]"


@dataclass(frozen=True, slots=True)
class Containment:
    """`tags contains sale`."""

    name: str
    value: Value

    def __str__(self) -> str:
        return f"{name_text(self.name)} contains {self.value}"


@dataclass(frozen=True, slots=True)
class Existence:
    """`exists(price)`."""

    name: str

    def __str__(self) -> str:
        return f"exists({name_text(self.name)})"


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " and ".join(_in_parentheses(part, Or) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Expression"

    def __str__(self) -> str:
        return f"not {_in_parentheses(self.part, And | Or)}"


Test: TypeAlias = Comparison | Membership | Containment | Existence
Expression: TypeAlias = Test | And | Or | Not


def tests_of(expression: Expression) -> Iterator[Test]:
    """The comparisons of the expression, from left to right."""
    if isinstance(expression, And | Or):
        for part in expression.parts:
            yield from tests_of(part)
    elif isinstance(expression, Not):
        yield from tests_of(expression.part)
    else:
        yield expression


def values_of(test: Test) -> tuple[Value, ...]:
    """The values that a comparison names."""
    if isinstance(test, Existence):
        return ()
    return test.values if isinstance(test, Membership) else (test.value,)


def name_text(name: str) -> str:
    """A name as a filter writes it: in backticks where it is not a single word."""
    plain = _BARE.fullmatch(name) and name.lower() not in KEYWORDS
    return name if plain else _quoted(name, "`")


def _quoted(text: str, mark: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"


def _in_parentheses(part: Expression, kinds: object) -> str:
    return f"({part})" if isinstance(part, kinds) else str(part)  # type: ignore[arg-type]  # a class or a union
