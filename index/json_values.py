"""What the service can write to JSON and read back: finite numbers, whole ones of 64 bits, a bounded depth."""

from math import isfinite
from typing import Any

LARGEST, SMALLEST = 2**64 - 1, -(2**63)  # the service's JSON library takes no others
DEEPEST = 64  # lists and objects within each other


def json_flaw(value: Any, depth: int = 0) -> str | None:
    """Why the service's JSON cannot hold the value, in words that follow "it"; None where it can."""
    match value:
        case None | bool():
            return None
        case str():
            return None if _is_unicode(value) else "is text with half a surrogate pair"
        case int():
            return None if SMALLEST <= value <= LARGEST else "is a whole number beyond 64 bits"
        case float():
            return None if isfinite(value) else "is not finite"
        case list() | tuple() | dict():
            return _flaw_inside(value, depth + 1)
        case _:
            return f"is of type {type(value).__name__}"


def _flaw_inside(value: list[Any] | tuple[Any, ...] | dict[Any, Any], depth: int) -> str | None:
    if depth > DEEPEST:
        return f"is nested more than {DEEPEST} deep"
    members: list[Any] = list(value)
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            return "has a name that is no text"
        members += value.values()
    return next(filter(None, (json_flaw(member, depth) for member in members)), None)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
