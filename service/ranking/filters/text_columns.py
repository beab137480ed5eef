"""Typed columns of texts and of lists of texts, as codes in a dictionary of the different ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from index.attribute_types import AttributeType
from service.ranking.filters.columns import LARGEST_EXPONENT, MISSING, Array, Changes, replaced_values
from service.ranking.filters.expression import Operator

MOST_VALUES = 50_000  # distinct texts of one attribute; one with more is free text or unique for each item
LONGEST_VALUE = 256  # characters; longer texts are free text
MOST_OF_ONE_ITEM = 64  # values of one attribute of one item
LEAST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1  # that orjson reads and writes as integers
LETTERS = 32
TOO_LONG = -2  # the code of a text that is longer than LONGEST_VALUE; MISSING is that of none


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The distinct texts of a column by code, in order of appearance. Some may have no row any more."""

    codes: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def texts(self) -> list[str]:
        """Every text by its code."""
        return list(self.codes)

    def code(self, text: str) -> int:
        """The code of a text, or what stands in its place."""
        return self.codes.get(text, TOO_LONG if text else MISSING)

    @cached_property
    def folded(self) -> list[str]:
        """Every text by its code, upper and lower case alike."""
        return [text.casefold() for text in self.codes]

    @cached_property
    def letters(self) -> Array:
        """Each text's `letter_counts`, by which similar ones are found."""
        return letter_counts(self.folded)

    def table(self, texts: Iterable[str]) -> Array:
        """Whether each code is one of the texts; the last two places are for MISSING and TOO_LONG."""
        return self._table([code for text in texts if (code := self.codes.get(text)) is not None])

    def table_containing(self, part: str) -> Array:
        """Whether the text of each code contains the part, upper and lower case alike."""
        folded = part.casefold()
        return self._table([code for code, text in enumerate(self.folded) if folded in text])

    def _table(self, codes: list[int]) -> Array:
        table = np.zeros(len(self) + 2, np.bool_)
        table[codes] = True
        return table

    def with_texts(self, texts: Iterable[str]) -> "Dictionary":
        """The dictionary with new texts at its end, but no empty and no long ones; itself where there are none."""
        new = [t for t in dict.fromkeys(texts) if 0 < len(t) <= LONGEST_VALUE and t not in self.codes]
        if not new:
            return self
        return Dictionary({**self.codes, **{text: len(self.codes) + i for i, text in enumerate(new)}})

    def without_unused(self, codes: Array) -> tuple["Dictionary", Array]:
        """The dictionary of the texts that some of the codes (c,) stand for, and their new codes (c,)."""
        used = np.zeros(len(self) + 2, np.bool_)
        used[codes] = True
        new_codes = np.cumsum(used, dtype=np.int32) - 1
        new_codes[[TOO_LONG, MISSING]] = TOO_LONG, MISSING
        kept = [text for text, code in self.codes.items() if used[code]]
        return Dictionary({text: code for code, text in enumerate(kept)}), new_codes[codes]


@dataclass(frozen=True, eq=False)
class TextColumn:
    """One text of each row, as the code of its place in the dictionary."""

    dictionary: Dictionary
    codes: Array  # (n,) int32, MISSING or TOO_LONG without a code
    too_many: bool = False  # more distinct texts than MOST_VALUES: none has a code, and only `exists` is known
    type: AttributeType = "string"

    def __len__(self) -> int:
        return len(self.codes)

    def exists(self) -> Array:
        mask: Array = self.codes != MISSING
        return mask

    def compared(self, operator: Operator, value: str) -> Array:
        if operator == "!=":
            return self.exists() & ~self.compared("=", value)
        code = self.dictionary.codes.get(value)
        return np.zeros(len(self), np.bool_) if code is None else self.codes == code

    def among(self, values: Sequence[str]) -> Array:
        if len(values) == 1:
            return self.compared("=", values[0])
        return self.dictionary.table(values)[self.codes]

    def containing(self, part: str) -> Array:
        return self.dictionary.table_containing(part)[self.codes]

    def with_text(self, texts: Sequence[str]) -> Array:
        return self.among(texts)

    @cached_property
    def held(self) -> Array:
        """Whether some row has the text of each code."""
        return held_codes(self.codes, len(self.dictionary))

    def replaced(self, n_rows: int, changes: Changes) -> "TextColumn":
        texts = {row: as_text(value) or "" for row, value in changes.items()}
        dictionary = self._dictionary_with(texts.values())
        coded = {row: dictionary.code(text) for row, text in texts.items()}
        codes = replaced_values(self.codes, n_rows, coded, MISSING)
        if codes is self.codes:
            return self
        return replace(self, **bounded(dictionary, codes))

    def _dictionary_with(self, texts: Iterable[str]) -> Dictionary:
        return self.dictionary if self.too_many else self.dictionary.with_texts(texts)


@dataclass(frozen=True, eq=False)
class ListColumn:
    """Several texts of each row: pairs of a row and a code, ascending by row."""

    dictionary: Dictionary
    rows: Array  # (p,) int32, ascending
    codes: Array  # (p,) int32
    n_rows: int
    too_many: bool = False  # more distinct texts than MOST_VALUES: none has a code, and only `exists` is known
    type: AttributeType = "list"

    def __len__(self) -> int:
        return self.n_rows

    def exists(self) -> Array:
        return self._mask(self.rows)

    def containing(self, text: str) -> Array:
        return self.with_text([text])

    def with_text(self, texts: Sequence[str]) -> Array:
        codes = [code for text in texts if (code := self.dictionary.codes.get(text)) is not None]
        if len(codes) == 1:
            return self._mask(self.rows[self.codes == codes[0]])
        return self._mask(self.rows[self.dictionary.table(texts)[self.codes]])

    def _mask(self, rows: Array) -> Array:
        mask = np.zeros(self.n_rows, np.bool_)
        mask[rows] = True
        return mask

    @cached_property
    def held(self) -> Array:
        """Whether some row has the text of each code."""
        return held_codes(self.codes, len(self.dictionary))

    def replaced(self, n_rows: int, changes: Changes) -> "ListColumn":
        texts = {row: texts_of(value) for row, value in sorted(changes.items())}
        changed = np.fromiter(texts, np.int32, len(texts))
        if self._texts_of(changed) == list(texts.values()):
            return self
        dictionary = self.dictionary
        if not self.too_many:
            dictionary = dictionary.with_texts(text for some in texts.values() for text in some)
        pairs = [(row, dictionary.code(text)) for row, some in texts.items() for text in some]
        new_rows, new_codes = np.array(pairs, np.int32).reshape(-1, 2).T
        kept = ~np.isin(self.rows, changed)
        rows, codes = self.rows[kept], self.codes[kept]
        places = np.searchsorted(rows, new_rows)
        rows, codes = np.insert(rows, places, new_rows), np.insert(codes, places, new_codes)
        return replace(self, rows=rows, n_rows=max(self.n_rows, n_rows), **bounded(dictionary, codes))

    def _texts_of(self, rows: Array) -> list[tuple[str | None, ...]]:
        """The texts of some rows; None stands for one without a code."""
        starts, ends = np.searchsorted(self.rows, rows).tolist(), np.searchsorted(self.rows, rows, "right").tolist()
        texts = self.dictionary.texts
        return [
            tuple(texts[code] if code >= 0 else None for code in self.codes[start:end].tolist())
            for start, end in zip(starts, ends, strict=True)
        ]


def held_codes(codes: Array, n: int) -> Array:
    """Whether each of n codes is among the codes."""
    held = np.zeros(n + 2, np.bool_)
    held[codes] = True
    return held[:n]


def letter_counts(texts: Sequence[str]) -> Array:
    """How often each text has the bytes of each of LETTERS classes (n, LETTERS) int16."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    classes = np.frombuffer(b"".join(encoded), np.uint8) % LETTERS + np.repeat(np.arange(len(texts)), lengths) * LETTERS
    return np.bincount(classes, minlength=len(texts) * LETTERS).astype(np.int16).reshape(-1, LETTERS)


def bounded(dictionary: Dictionary, codes: Array) -> dict[str, Any]:
    """The fields of a column with this dictionary and these codes, without codes where there are too many texts."""
    if len(dictionary) > MOST_VALUES:
        dictionary, codes = dictionary.without_unused(codes)
    if len(dictionary) > MOST_VALUES:
        return {"dictionary": Dictionary({}), "codes": np.where(codes == MISSING, codes, TOO_LONG), "too_many": True}
    return {"dictionary": dictionary, "codes": codes}


def texts_of(value: Any) -> tuple[str, ...]:
    """The different texts of a list, or of a single value, without empty ones."""
    values = value[:MOST_OF_ONE_ITEM] if isinstance(value, list | tuple) else (value,)
    return tuple(dict.fromkeys(text for one in values if (text := as_text(one))))


def as_text(value: Any) -> str | None:
    """A value as requests spell it: numbers and booleans in JSON's form; None for what no item can have."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not LEAST_INTEGER <= value <= LARGEST_INTEGER:  # orjson reads it as a float
        return as_text(float(value)) if value.bit_length() < LARGEST_EXPONENT else None
    return orjson.dumps(value).decode() if isinstance(value, bool | int | float) else None
