"""Parses the text of a filter; an error says where, what was found, what was expected, and often what to write."""

import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from index.attribute_types import parse_time
from service.errors import InvalidRequestError
from service.ranking.filters.expression import (
    And,
    Boolean,
    Comparison,
    Containment,
    Existence,
    Expression,
    FromNow,
    Membership,
    Moment,
    Not,
    Number,
    Operator,
    Or,
    Text,
    Value,
    tests_of,
    values_of,
)
from service.ranking.filters.syntax_errors import syntax_error

MAX_CHARS = 4_000  # of a filter
MOST_TERMS = 200  # comparisons, and values in lists
DEEPEST = 32  # parentheses within each other
TITLE, TITLE_WORK = "title", 20  # a search in titles takes as long as so many comparisons
PARSED = 1_024  # filters whose trees are cached
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST_AGO_S = 9_999_999_999  # some three hundred years

GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: opposite (_AND opposite)*
?opposite: _NOT opposite -> negation
         | "(" either ")"
         | name COMPARE value -> comparison
         | name _IN "[" value ("," value)* "]" -> membership
         | name _CONTAINS value -> containment
         | _EXISTS "(" name ")" -> existence
name: WORD -> bare
    | STRING -> quoted
    | NAME -> quoted
?value: STRING -> text
      | WORD -> word
      | NUMBER -> number
      | TIME -> moment
      | TRUE -> true
      | FALSE -> false
      | NOW (SIGN DURATION)? -> from_now

_AND.3: /and(?![\w.-])/i
_OR.3: /or(?![\w.-])/i
_NOT.3: /not(?![\w.-])/i
_IN.3: /in(?![\w.-])/i
_CONTAINS.3: /contains(?![\w.-])/i
_EXISTS.3: /exists(?![\w.-])/i
TRUE.3: /true(?![\w.-])/i
FALSE.3: /false(?![\w.-])/i
NOW.3: /now(?![\w.])(?!-[^\W\d])/i
TIME.3: /\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?(?![\w.:-])/
DURATION.2: /[0-9]{1,10}[smhdw](?!\w)/
NUMBER.1: /-?([0-9]+(\.[0-9]+)?|\.[0-9]+)(e[+-]?[0-9]+)?(?![\w.])/i
SIGN.1: /[+-]/
COMPARE: /!=|<=|>=|=|<|>/
WORD: /[^\W\d][\w.-]*/
STRING: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/s
NAME: /`([^`\\]|\\.)+`/s
%ignore /\s+/
"""

# What bounds the cost of parsing, read in one pass: quoted parts, parentheses, and what makes a term.
_PARTS = re.compile(
    r"""("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|`(?:[^`\\]|\\.)*`?)|([()])|([=<>!]+|,|\b(?:contains|exists|in|not)\b)""",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class Filter:
    """A parsed filter."""

    expression: Expression

    @cached_property
    def text(self) -> str:
        """Its normal form: filters that differ in spaces, quotes and parentheses alone share one."""
        return str(self.expression)

    @cached_property
    def n_terms(self) -> int:
        """Comparisons, and values in lists beyond the first."""
        return sum(max(1, len(values_of(test))) for test in tests_of(self.expression))

    @cached_property
    def work(self) -> int:
        """Its terms, where a search in titles counts as the several that take as long."""
        searches = sum(isinstance(test, Containment) and test.name == TITLE for test in tests_of(self.expression))
        return self.n_terms + (TITLE_WORK - 1) * searches

    @cached_property
    def depends_on_now(self) -> bool:
        """Whether the same filter finds other items later."""
        return any(isinstance(value, FromNow) for test in tests_of(self.expression) for value in values_of(test))


@lru_cache(PARSED)
def parse_filter(text: str) -> Filter:
    """The filter; InvalidRequestError where it is too long, too deep, or not of the language."""
    _check_limits(text)
    try:
        return Filter(_PARSER.parse(text))
    except (UnexpectedToken, UnexpectedCharacters) as error:
        raise InvalidRequestError(f"filter: {syntax_error(error, text)}") from None


def _check_limits(text: str) -> None:
    if len(text) > MAX_CHARS:
        raise InvalidRequestError(f"filter: has {len(text)} characters, the limit is {MAX_CHARS}")
    depth = deepest = terms = 0
    for part in _PARTS.finditer(text):
        if part[2]:
            depth = depth + 1 if part[2] == "(" else depth - 1
            deepest = max(deepest, depth)
        terms += part[3] is not None
    if deepest > DEEPEST:
        raise InvalidRequestError(f"filter: has parentheses {deepest} deep, the limit is {DEEPEST}")
    if terms > MOST_TERMS:
        raise InvalidRequestError(f"filter: has {terms} comparisons and values, the limit is {MOST_TERMS}")


@v_args(inline=True)
class _TreeBuilder(Transformer[Token, Expression]):
    """Makes the expression from what the parser recognised."""

    def either(self, *parts: Expression) -> Expression:
        return Or(_flat(parts, Or))

    def both(self, *parts: Expression) -> Expression:
        return And(_flat(parts, And))

    def negation(self, part: Expression) -> Expression:
        return part.part if isinstance(part, Not) else Not(part)

    def comparison(self, name: str, operator: Token, value: Value) -> Expression:
        symbol: Operator = operator.value
        return Comparison(name, symbol, value)

    def membership(self, name: str, *values: Value) -> Expression:
        return Membership(name, tuple(dict.fromkeys(values)))

    def containment(self, name: str, value: Value) -> Expression:
        return Containment(name, value)

    def existence(self, name: str) -> Expression:
        return Existence(name)

    def bare(self, token: Token) -> str:
        return str(token)

    def quoted(self, token: Token) -> str:
        return _unquoted(token)

    def text(self, token: Token) -> Value:
        return Text(_unquoted(token))

    def word(self, token: Token) -> Value:
        return Text(str(token))

    def number(self, token: Token) -> Value:
        value = float(token)
        if not math.isfinite(value):
            raise InvalidRequestError(f"filter: the number {token[:40]} at character {_place(token)} is too large")
        return Number(value + 0.0)  # -0 becomes 0

    def moment(self, token: Token) -> Value:
        seconds = parse_time(token)
        if seconds is None:
            raise InvalidRequestError(f"filter: {token} at character {_place(token)} is no day or time of a calendar")
        return Moment(str(token), seconds)

    def true(self, _: Token) -> Value:
        return Boolean(True)

    def false(self, _: Token) -> Value:
        return Boolean(False)

    def from_now(self, _: Token, sign: Token | None = None, duration: Token | None = None) -> Value:
        if sign is None or duration is None:
            return FromNow(0.0)
        seconds = float(duration[:-1]) * SECONDS[duration[-1]]
        if seconds > LONGEST_AGO_S:
            raise InvalidRequestError(f"filter: {duration} at character {_place(duration)} is longer than 300 years")
        return FromNow(-seconds if sign == "-" and seconds else seconds)


def _place(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _flat(parts: tuple[Expression, ...], kind: type[And] | type[Or]) -> tuple[Expression, ...]:
    """The parts, with those of the same kind among them opened: parentheses that change nothing."""
    opened: list[Expression] = []
    for part in parts:
        opened.extend(part.parts if isinstance(part, kind) else (part,))
    return tuple(opened)


def _unquoted(token: Token) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)


_PARSER: Any = Lark(GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False, transformer=_TreeBuilder())
