"""Says in a sentence why an item is in a list.

A sentence claims no more than the shares beside it show. What raises a score is the sum of its positive shares: those
of the named past items, of the other past items together, of the user's own term and of boosts. "Because" is said of
what carries more than MOST of it, "mostly" of a part with more than MOST of the positive parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import not_
from typing import Any

import numpy as np

from index.recommending.attribution import RoundedShares

Array = np.ndarray[Any, Any]

MOST = 0.5  # the share above which a sentence calls something the reason
MOST_NAMED = 2  # past items in a sentence

VERBS = {"session": "you looked at"}  # by the profile's source; otherwise "you had"

PART_PHRASES = {
    "id": "who else had it",
    "text": "its description",
    "image": "its looks",
    "multimodal": "its looks and description together",
    "anchor": "its ties to items like it",
}
HAD_BY_NO_USER = {"id": "what was learned of the item itself"}  # in place of the phrase above
OF_NEW_ITEM = {"anchor": "what all items have in common"}  # likewise, of an item that training never saw
NEW = "; new: no user has had it yet"
EXPLORED_SENTENCE = " Shown to learn about it: few have seen it yet."
OWN_TASTE = "it fits your own long-term taste"
OWN_REST = "it fits what was learned of you beyond your past items"


@dataclass(frozen=True, eq=False)
class PastItems:
    """The past items that an explanation names, largest share first, and what else its sentence says of the profile."""

    rows: Array  # (n, k)
    weights: Array  # (n, k)
    source: str
    count: int = 0  # all past items of the profile
    # Whether the model has a vector for the user's own taste; otherwise `own` is what the past items miss of the user.
    has_taste: bool = True


def explanation_sentences(
    shares: RoundedShares,
    titles: Sequence[Sequence[str]],
    past: PastItems,
    *,
    weights: Sequence[Sequence[float]] | None = None,
    pinned: Sequence[bool] = (),
    explored: Sequence[bool] = (),
    user_counts: Sequence[int] = (),
    new: Sequence[bool] = (),
) -> Iterator[str]:
    """Yield the sentence of each of the k items.

    titles (at least MOST_NAMED lists of k, or n) and weights (n lists of k, None: all 1) are those of its past items;
    pinned, explored, user_counts and new as above.
    """
    positive = np.maximum(shares.units, 0)
    sums, raising = shares.sums(shares.units), shares.sums(positive)  # (2, k): of the parts, of all else
    reasons = _reasons(shares, titles, past, weights, score=sums[1], raising=raising[1])
    clauses = _part_clauses(shares, user_counts, new, score=sums[0], raising=raising[0])
    for (how, reason), clause, rule, is_pinned, is_explored in zip(
        reasons, clauses, shares.rules.tolist(), pinned or repeat(False), explored or repeat(False), strict=False
    ):
        if not reason:
            said = "Nothing that is known of you speaks for it"
        else:
            lead = reason if is_pinned or is_explored else how + reason  # then this is not why it is in the list
            said = lead[0].upper() + lead[1:] + clause
        yield f"{said}.{rules_sentence(rule, pinned=is_pinned)}{EXPLORED_SENTENCE if is_explored else ''}"


def _reasons(
    shares: RoundedShares,
    titles: Sequence[Sequence[str]],
    past: PastItems,
    weights: Sequence[Sequence[float]] | None,
    *,
    score: Array,
    raising: Array,
) -> Iterator[tuple[str, str]]:
    """How much something of the user is the reason for each score, and what it is; empty where nothing raises it."""
    named = np.maximum(shares.past[:MOST_NAMED], 0)
    n_named, by_named = (named > 0).sum(axis=0).tolist(), named.sum(axis=0)
    most, speaks = MOST * raising, score > 0
    because, taste = ((by_named > most) & speaks).tolist(), ((shares.own > most) & speaks).tolist()
    fits = OWN_TASTE if past.has_taste else OWN_REST
    for i, n in enumerate(n_named):
        first = [of_place[i] for of_place in titles[:n]]
        disliked = () if weights is None else [of_place[i] < 0 for of_place in weights[:n]]
        if because[i]:
            yield "because ", had(first, past.source, disliked)
        elif taste[i]:
            yield "because ", fits
        elif not n:
            yield "partly because ", fits if shares.own[i] > 0 else ""
        elif past.count <= n:
            yield "partly because ", had(first, past.source, disliked)
        else:
            yield "", f"among {past.count} past items, most of all {_most_of_all(first, disliked)}"


def _most_of_all(titles: Sequence[str], disliked: Sequence[bool]) -> str:
    if any(disliked):
        both = zip(titles, disliked, strict=True)
        titles = [f"{title}, which you did not like," if is_disliked else title for title, is_disliked in both]
    return " and ".join(titles).removesuffix(",")


def had(titles: Sequence[str], source: str, disliked: Sequence[bool] = ()) -> str:
    """A phrase that names past items, the disliked ones apart; without `disliked` there are none of these."""
    liked = list(compress(titles, map(not_, disliked))) if disliked else titles
    phrases = [f"{VERBS.get(source, 'you had')} {' and '.join(liked)}"] if liked else []
    if any(disliked):
        phrases.append(f"you did not like {' and '.join(compress(titles, disliked))}")
    return " and ".join(phrases)


def _part_clauses(
    shares: RoundedShares, user_counts: Sequence[int], new: Sequence[bool], *, score: Array, raising: Array
) -> Iterator[str]:
    """Which part of each item weighs most, and whether the item is new; no part where none raises its score."""
    best = shares.parts.argmax(axis=0).tolist()
    is_most = ((shares.parts.max(axis=0) > MOST * raising) & (score > 0)).tolist()
    counts = user_counts or repeat(1)
    columns = zip(best, (raising > 0).tolist(), is_most, counts, new or repeat(False), strict=False)
    for place, raises, most, count, is_new in columns:
        name = shares.names[place]
        others = OF_NEW_ITEM if is_new else {} if count else HAD_BY_NO_USER
        phrase = others.get(name) or PART_PHRASES.get(name, name)
        clause = f"; {'mostly' if most else 'above all'} {phrase}" if raises else ""
        yield NEW + clause if is_new else clause


def rules_sentence(share: float, *, pinned: bool) -> str:
    """A sentence that says how rules moved an item; empty where they did not."""
    if pinned:
        return " A rule put it in this place."
    return "" if not share else " A rule moved it up." if share > 0 else " A rule moved it down."


def popular_sentence(user_count: int) -> str:
    """The sentence for an item that is shown for its popularity."""
    people = "1 person" if user_count == 1 else f"{user_count} people"
    said = f"Popular: {people} had it" if user_count else "No user has had it yet"
    return f"{said}; too little is known of your own taste to rank by."
