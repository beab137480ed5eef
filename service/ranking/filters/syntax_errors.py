"""Explains why the text of a filter could not be parsed."""

import re
from collections.abc import Iterable

from lark import UnexpectedCharacters, UnexpectedToken

_OPERATORS = ("COMPARE", "_IN", "_CONTAINS")
_VALUES = ("NUMBER", "TIME", "TRUE", "FALSE", "NOW")  # STRING and WORD may be names, too
_PHRASES = {
    "_AND": "'and'",
    "_OR": "'or'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "COMMA": "','",
    "SIGN": "- or +",
    "DURATION": "a duration such as 30d",
    "$END": "the end",
}
# What other languages write, by what is found from the error on or from the character before it.
_ADVICE = (
    (re.compile(r"=="), "equality is ="),
    (re.compile(r"<>"), "inequality is !="),
    (re.compile(r"&&?"), "write and"),
    (re.compile(r"\|\|?"), "write or"),
    (re.compile(r"!(?!=)"), "write not"),
    (re.compile(r":"), "equality is ="),
    (re.compile(r"not\s+in\b", re.I), "write not before the name: not colour in [red, blue]"),
    (re.compile(r"(is\s+)?not\s+null\b|is\s+null\b", re.I), "write exists(name) or not exists(name)"),
    (re.compile(r"(like|matches|~)\b", re.I), "write contains"),
    (re.compile(r"between\b", re.I), "write price >= 10 and price <= 20"),
    (re.compile(r"[\"'`]"), "a quote that is opened must be closed"),
    (re.compile(r"\d+[\w.:-]*[^\W\d]"), "put text that begins with a digit in quotes"),
)
_LONGEST = 40  # characters shown of what was found


def syntax_error(error: UnexpectedToken | UnexpectedCharacters, text: str) -> str:
    """One sentence: where, what was found, what was expected, and a hint where there is one."""
    place = len(text) if _at_end(error) else int(error.pos_in_stream or 0)
    allowed = error.accepts or error.expected if isinstance(error, UnexpectedToken) else error.allowed
    advice = _advice(text, place, allowed or ())
    expected = expectation(allowed or ()) if isinstance(error, UnexpectedToken) else "a name, a value or an operator"
    return f"at character {place + 1} found {_found(text, place)}, expected {expected}{advice and f'; {advice}'}"


def _at_end(error: UnexpectedToken | UnexpectedCharacters) -> bool:
    return isinstance(error, UnexpectedToken) and error.token.type == "$END"


def expectation(terminals: Iterable[str]) -> str:
    """What may come next, in words."""
    names = set(terminals)
    words = []
    if names & set(_VALUES):
        words.append("a value")
    elif "WORD" in names:
        words.append("a name")
    if names & set(_OPERATORS):
        words.append("one of = != < <= > >= in contains")
    words += [phrase for name, phrase in _PHRASES.items() if name in names and (name != "LPAR" or len(names) == 1)]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _found(text: str, place: int) -> str:
    rest = text[place:].strip()
    if not rest:
        return "the end"
    word = re.match(r"[\w.-]+|\S", rest)
    return repr((word[0] if word else rest)[:_LONGEST])


def _advice(text: str, place: int, allowed: Iterable[str]) -> str:
    for pattern, advice in _ADVICE:
        if pattern.match(text, place) or (place and len(pattern.pattern) == 2 and pattern.match(text, place - 1)):
            return advice
    names = set(allowed)
    if "_AND" in names and re.match(r"[\w\"']", text[place:]):
        return "put text of several words in quotes"
    if names == {"LSQB"}:
        return "lists stand in brackets: colour in [red, blue]"
    return ""
