"""Renders explanations: a sentence for people, and shares for programs that sum to the score.

A sentence claims no more than the shares beside it show. What raises a score is the sum of its positive shares: those
of the named past items, of the other past items together, of the user's own term and of boosts. "Because" is said of
what carries more than MOST of it, "mostly" of a part with more than MOST of the positive parts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.ranking.attribution import ScoreShares

Array = np.ndarray[Any, Any]

DECIMALS = 6  # far below the 1e-4 to which the shares sum, and short enough to read
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
    name: Callable[[int], tuple[str, str]],
    ranks: Array | None = None,
    *,
    shares: Array | None = None,
    pinned: Sequence[bool] = (),
    user_counts: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """Yield one JSON explanation for each of the k items.

    ranks (n, k) are the counterfactual ranks; name gives the id and title of an item row; shares (k,) are what boosts
    add to the scores, None where there are no boosts; pinned (k,) marks the items that a rule pinned; user_counts (k,)
    are the users who had each item.
    """
    parts = rounded(np.stack(list(explanation.parts.values())))  # k lists, one share a part
    weights = None if (past.weights == 1).all() else rounded(past.weights)
    rows, contributions = past.rows.T.tolist(), rounded(explanation.contributions)
    own, others = rounded(explanation.own), rounded(explanation.others)
    boosts = None if shares is None else rounded(shares)
    for i, part_shares in enumerate(parts):
        items = [_past_item(name(row), share) for row, share in zip(rows[i], contributions[i], strict=True)]
        if weights is not None:
            _add_weights(items, weights[i])
        if ranks is not None:
            for item, rank in zip(items, ranks[:, i].tolist(), strict=True):
                item["rank_without"] = rank or None
        record = {
            "parts": dict(zip(explanation.parts, part_shares, strict=True)),
            "past_items": items,
            "other_past_items": others[i],
            "user_own": own[i],
        }
        if boosts is not None:
            record["rules"] = boosts[i]
        said = explanation_sentence(
            record,
            past,
            pinned=bool(pinned) and pinned[i],
            had_by_users=not user_counts or user_counts[i] > 0,
        )
        yield {"sentence": said, **record}


def rounded(values: Array) -> list[Any]:
    """The values (k,), or each column of (n, k), as rounded Python numbers: numpy's are slow one by one."""
    numbers: list[Any] = np.round(values.astype(np.float64), DECIMALS).T.tolist()
    return numbers


def _past_item(name: tuple[str, str], contribution: float) -> dict[str, Any]:
    return {"item_id": name[0], "title": name[1], "contribution": contribution}


def _add_weights(items: Sequence[dict[str, Any]], weights: Sequence[float]) -> None:
    for item, weight in zip(items, weights, strict=True):
        if weight != 1:
            item["weight"] = weight


def explanation_sentence(
    shares: Mapping[str, Any], past: PastItems, *, pinned: bool = False, had_by_users: bool = True
) -> str:
    """The sentence for the shares of one explanation, as they stand in the response."""
    how, reason = _reason(shares, past)
    if not reason:
        said = "Nothing that is known of you speaks for it"
    else:
        lead = reason if pinned else how + reason  # a pinned item is in the list because of the rule
        said = lead[0].upper() + lead[1:] + _part_clause(shares["parts"], had_by_users=had_by_users)
    return f"{said}.{rules_sentence(shares.get('rules', 0.0), pinned=pinned)}"


def _reason(shares: Mapping[str, Any], past: PastItems) -> tuple[str, str]:
    """How much something of the user is the reason for the score, and what it is; empty where nothing raises it."""
    items, own = shares["past_items"], shares["user_own"]
    named = [item for item in items[:MOST_NAMED] if item["contribution"] > 0]
    by_named, taste = sum(item["contribution"] for item in named), OWN_TASTE if past.has_taste else OWN_REST
    summands = [*(item["contribution"] for item in items), shares["other_past_items"], own, shares.get("rules", 0.0)]
    raising, score = _positive_sum(summands), sum(summands)
    if by_named > MOST * raising and score > 0:
        return "because ", had(named, past.source)
    if own > MOST * raising and score > 0:
        return "because ", taste
    if not named:
        return "partly because ", taste if own > 0 else ""
    if past.count <= len(named):
        return "partly because ", had(named, past.source)
    titles = " and ".join(map(_title, named)).removesuffix(",")
    return "", f"among {past.count} past items, most of all {titles}"


def _positive_sum(values: Iterable[float]) -> float:
    return sum(value for value in values if value > 0)


def _title(item: Mapping[str, Any]) -> str:
    return f"{item['title']}, which you did not like," if _is_disliked(item) else item["title"]


def _is_disliked(item: Mapping[str, Any]) -> bool:
    return bool(item.get("weight", 1) < 0)


def had(items: Sequence[Mapping[str, Any]], source: str) -> str:
    """A phrase that names past items, the disliked ones apart."""
    liked = [item["title"] for item in items if not _is_disliked(item)]
    disliked = [item["title"] for item in items if _is_disliked(item)]
    phrases = [f"{VERBS.get(source, 'you had')} {' and '.join(liked)}"] if liked else []
    if disliked:
        phrases.append(f"you did not like {' and '.join(disliked)}")
    return " and ".join(phrases)


def _part_clause(parts: Mapping[str, float], *, had_by_users: bool) -> str:
    """Which part of the item weighs most; empty where no part raises the score."""
    name, share = max(parts.items(), key=lambda part: part[1], default=("", 0.0))
    if share <= 0:
        return ""
    is_most = share > MOST * _positive_sum(parts.values()) and sum(parts.values()) > 0
    phrases = PART_PHRASES if had_by_users else PART_PHRASES | HAD_BY_NO_USER
    return f"; {'mostly' if is_most else 'above all'} {phrases.get(name, name)}"


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
