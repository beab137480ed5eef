"""Pydantic's findings as sentences for who wrote the values: which field, what was expected, what was found."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

MOST_PROBLEMS = 3
SHOWN = 80  # characters of a wrong value
REPHRASED = (
    (r"^(Value error|Assertion failed), ", ""),
    (r"^.{1,30} should match pattern ", "expected text of the pattern "),
    (r"^.{1,30} should (be|have) ", "expected "),
    (r"a valid dictionary( or instance of \w+)?$|an object$", "an object with named fields"),
    (r" after validation, not \d+$|, unable to (parse|interpret) .*$", ""),
)


def explained(error: ValidationError, *, show_values: bool = True) -> str:
    """All that is wrong in one line; without `show_values` it repeats nothing of the input, which may be secret."""
    found = without_consequences(error.errors(include_url=False))
    told = "; ".join(problem(one, show_values=show_values) for one in found[:MOST_PROBLEMS])
    return told if len(found) <= MOST_PROBLEMS else f"{told}; and {len(found) - MOST_PROBLEMS} more"


def without_consequences(errors: Sequence[Any]) -> list[Any]:
    """Pydantic's errors without those of tuples that lack entries only because these are wrong themselves."""
    above = {one["loc"][:n] for one in errors for n in range(len(one["loc"]))}
    return [one for one in errors if one["type"] != "too_short" or one["loc"] not in above]


def problem(one: Mapping[str, Any], location: Sequence[object] | None = None, *, show_values: bool = True) -> str:
    """One of pydantic's errors; `location` replaces its own."""
    where = ".".join(str(part) for part in (one["loc"] if location is None else location))
    context = one.get("ctx", {})
    match one["type"]:
        case "missing":
            return f"{where} is missing"
        case "extra_forbidden":
            return f"{where} is no known field"
        case "json_invalid":
            return f"it is no JSON ({context['error']})"
        case "union_tag_not_found":
            return f"{where} lacks {context['discriminator']}"
        case "union_tag_invalid":
            return f"{where}: expected one of {context['expected_tags']}, found {context['tag']!r:.{SHOWN}}"
    found = f", found {one['input']!r:.{SHOWN}}" if show_values else ""
    return f"{where}: {expectation(one['msg'])}{found}".removeprefix(": ")


def expectation(message: str) -> str:
    """Pydantic's message in the words of this project."""
    for pattern, words in REPHRASED:
        message = re.sub(pattern, words, message)
    return message
