"""The known names or values most like one that no item has."""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from service.ranking.filters.text_columns import ListColumn, TextColumn, letter_counts

MOST = 3  # suggested
LIKENESS = 0.6  # of get_close_matches
COMPARED = 50  # values compared with the one that was sought: those with most letters in common
SHOWN = 80  # characters of a value


def nearest(sought: str, known: Sequence[str]) -> list[str]:
    """The most alike of the known texts, best first, upper and lower case alike."""
    by_folded = {text.casefold(): text for text in reversed(known)}
    return [by_folded[folded] for folded in get_close_matches(sought.casefold(), by_folded, MOST, LIKENESS)]


def nearest_values(sought: str, column: TextColumn | ListColumn) -> list[str]:
    """The values that some row has most like the sought one."""
    dictionary, held = column.dictionary, column.held
    differences = np.abs(dictionary.letters - letter_counts([sought.casefold()])).sum(axis=1)  # (n,)
    differences[~held] = np.iinfo(differences.dtype).max
    order = np.argsort(differences, kind="stable")[:COMPARED]
    return nearest(sought, [dictionary.texts[code] for code in order.tolist() if held[code]])


def listed(texts: Sequence[str]) -> str:
    """Some texts as a sentence names them: 'red', 'blue' or 'grey'."""
    shown = [repr(text[:SHOWN]) for text in texts]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
