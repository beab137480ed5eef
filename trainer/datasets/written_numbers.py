"""Reads a column of text as numbers, where it can be meant as nothing else."""

from dataclasses import dataclass

import polars as pl

DIGITS = 15  # of a whole number; a longer one is an id, which a float would not hold
INFINITE = r"[+-]?(?i:inf(?:inity)?)"
# No leading zeros and no plus: those are of ids and phone numbers. 12E5 may be an id, 1.2e5 and 12e+5 are none.
PLAIN = rf"^(?:-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-][0-9]+)?|-?[0-9]\.[0-9]+[eE][0-9]+|{INFINITE})$"
LONG = rf"^-?[0-9]{{{DIGITS + 1},}}$"
GROUPS = {
    ",": r"^-?(?:0|[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]*)(?:\.[0-9]+)?$",
    ".": r"^-?(?:0|[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[1-9][0-9]*)(?:,[0-9]+)?$",
}
"""By the separator of thousands: 1,299.50 and 1.299,50."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column: None where there was no text, and where the text is none (`strange`)."""

    values: list[int | float | None]
    strange: pl.Series  # bool
    thousands: str = ""
    """What separates the thousands."""


def written_numbers(text: pl.Series) -> Numbers:
    """The numbers that the texts are; separators of thousands are read where they leave no doubt about any value."""
    plain = text.str.contains(PLAIN) & ~text.str.contains(LONG)
    if not plain.all():
        fitting = [mark for mark, pattern in GROUPS.items() if text.str.contains(pattern).all()]
        if len(fitting) == 1:
            (mark,) = fitting
            return Numbers(_values(_without_groups(text, mark)), _none_of(text), mark)
    strange = ~plain.fill_null(value=True)
    return Numbers(_values(text.set(strange, None)), strange)


def _none_of(text: pl.Series) -> pl.Series:
    return pl.Series([False]).new_from_index(0, len(text))


def _without_groups(text: pl.Series, mark: str) -> pl.Series:
    return text.str.replace_all(mark, "", literal=True).str.replace(",", ".", literal=True)


def _values(text: pl.Series) -> list[int | float | None]:
    """Whole numbers where all are."""
    whole = text.str.contains(r"^-?[0-9]+$")
    if whole.all():
        return text.cast(pl.Int64).to_list()
    return [None if value is None else float(value) for value in text]
