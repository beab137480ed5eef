"""Renders explanations: a sentence for people, and shares for programs that sum to the score.

A sentence claims no more than the shares beside it show. What raises a score is the sum of its positive shares: those
of the named past items, of the other past items together, of the user's own term and of boosts. "Because" is said of
what carries more than MOST of it, "mostly" of a part with more than MOST of the positive parts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import not_
from typing import Any

import numpy as np
import orjson

from service.ranking.attribution import UNITS, RoundedShares, ScoreShares, rounded
from service.ranking.item_metadata import ShownItem, json_numbers

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
REST_FIELDS = (b'"other_past_items"', b'"user_own"', b'"rules"')
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


def render_explanations(
    explanation: ScoreShares,
    past: PastItems,
    shown: Callable[[int], ShownItem],
    ranks: Array | None = None,
    *,
    shares: Array | None = None,
    pinned: Sequence[bool] = (),
    explored: Sequence[bool] = (),
    user_counts: Sequence[int] = (),
    new: Sequence[bool] = (),
) -> list[bytes]:
    """The explanation of each of the k items as JSON.

    ranks (n, k) are the counterfactual ranks; shown gives the texts of an item row; shares (k,) are what boosts add to
    the scores, None where there are no boosts; pinned (k,) marks the items that a rule pinned, explored (k,) those that
    are shown to learn about them, new (k,) those that training never saw; user_counts (k,) are the users who had each
    item.
    """
    of_all = RoundedShares.of(explanation, shares)
    weights = None if (past.weights == 1).all() else rounded(past.weights)
    items = [[shown(row) for row in rows] for rows in past.rows.tolist()]  # n lists of k
    titles = [[item.name for item in named] for named in items[:MOST_NAMED]]
    said = explanation_sentences(
        of_all, titles, past, weights=weights, pinned=pinned, explored=explored, user_counts=user_counts, new=new
    )
    k, numbers = of_all.units.shape[1], json_numbers((of_all.units / UNITS).ravel())
    shares_json = [numbers[start : start + k] for start in range(0, len(numbers), k)]  # one list of k for each share
    # One by one they take twice as long; no string in JSON has three such characters in a row.
    sentences = orjson.dumps(list(said))[2:-2].split(b'","')
    return _joined(of_all, sentences, shares_json, items, _more_fields(weights, ranks))


def _joined(
    shares: RoundedShares,
    sentences: Sequence[bytes],
    numbers: Sequence[Sequence[bytes]],
    items: Sequence[Sequence[ShownItem]],
    more: Sequence[Sequence[bytes]],
) -> list[bytes]:
    """The JSON of k explanations; numbers are those of each share, items and more those of each place in the past."""
    p, n = len(shares.names), shares.n_past
    columns: list[Iterable[bytes]] = [repeat(b'{"sentence":"'), sentences]  # their texts in turn make one explanation
    opening = b'","parts":{'
    for name, of_part in zip(shares.names, numbers, strict=False):
        columns += [repeat(b"%b%b:" % (opening, orjson.dumps(name))), of_part]
        opening = b","
    opening = b'},"past_items":['
    for place, of_item in enumerate(numbers[p : p + n]):
        in_past = [item.in_past for item in items[place]]
        columns += [
            repeat(opening),
            in_past,
            repeat(b',"contribution":'),
            of_item,
            more[place] if more else repeat(b""),
        ]
        opening = b"},"
    opening = b"}]," if n else b'},"past_items":[],'
    for field, of_rest in zip(REST_FIELDS, numbers[p + n :], strict=False):
        columns += [repeat(b"%b%b:" % (opening, field)), of_rest]
        opening = b","
    return list(map(b"".join, zip(*columns, repeat(b"}"), strict=False)))


def _more_fields(weights: list[list[float]] | None, ranks: Array | None) -> list[list[bytes]]:
    """For each of the n places in the past what only some of the k items have there; empty where none has anything."""
    fields = []
    if weights is not None:
        fields.append([[b"" if one == 1 else b',"weight":%b' % orjson.dumps(one) for one in row] for row in weights])
    if ranks is not None:
        fields.append([[b',"rank_without":%b' % orjson.dumps(one or None) for one in row] for row in ranks.tolist()])
    return [list(map(b"".join, zip(*rows, strict=True))) for rows in zip(*fields, strict=True)]


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
