"""An explanation as a person and a program read it: a sentence, and shares that sum to the score."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.ranking.attribution import Explanation

Array = np.ndarray[Any, Any]

DECIMALS = 6  # far below the 1e-4 to which the shares sum, and short enough to read

VERBS = {"session": "you looked at"}  # elsewhere: had

LOOKS_LIKE = {
    "id": "who else had it",
    "text": "its description",
    "image": "its looks",
    "multimodal": "its looks and description together",
    "anchor": "its ties to items like it",
}


@dataclass(frozen=True, eq=False)
class Past:
    """The past items that an explanation names, most first, and how they came into the profile."""

    rows: Array  # (n, k)
    weights: Array  # (n, k)
    source: str  # of the profile


def render_explanations(
    found: Explanation,
    past: Past,
    name: Callable[[int], tuple[str, str]],
    ranks: Array | None = None,
    *,
    shares: Array | None = None,
    pinned: Sequence[bool] = (),
) -> Iterator[dict[str, Any]]:
    """One explanation an item of the answer; ranks are (n, k), name gives an item's id and title.

    shares (k,) is what rules add to each score, where any could; pinned (k,) says whom a rule put in its place.
    """
    parts = rounded(np.stack(list(found.parts.values())))  # k lists, one share a part
    weights = None if (past.weights == 1).all() else rounded(past.weights)
    rows, contributions = past.rows.T.tolist(), rounded(found.contributions)
    own, others = rounded(found.own), rounded(found.others)
    by_rules = None if shares is None else rounded(shares)
    for i, by_part in enumerate(parts):
        items = [_past_item(name(row), share) for row, share in zip(rows[i], contributions[i], strict=True)]
        if weights is not None:
            _add_weights(items, weights[i])
        if ranks is not None:
            for item, rank in zip(items, ranks[:, i].tolist(), strict=True):
                item["rank_without"] = rank or None
        named = dict(zip(found.parts, by_part, strict=True))
        told = {
            "sentence": reason(named, causes_of(items, past.source), own[i]),
            "parts": named,
            "past_items": items,
            "other_past_items": others[i],
            "user_own": own[i],
        }
        if by_rules is not None:
            told["rules"] = by_rules[i]
        if by_rules is not None or pinned:
            told["sentence"] += rules_clause(told.get("rules", 0.0), pinned=bool(pinned) and pinned[i])
        yield told


def rounded(values: Array) -> list[Any]:
    """The values (k,), or each column of (n, k), as rounded Python numbers: numpy's own are slow one by one."""
    rounded: list[Any] = np.round(values.astype(np.float64), DECIMALS).T.tolist()
    return rounded


def _past_item(named: tuple[str, str], contribution: float) -> dict[str, Any]:
    return {"item_id": named[0], "title": named[1], "contribution": contribution}


def _add_weights(items: Sequence[dict[str, Any]], weights: Sequence[float]) -> None:
    for item, weight in zip(items, weights, strict=True):
        if weight != 1:
            item["weight"] = weight


def causes_of(items: Sequence[Mapping[str, Any]], source: str) -> list[str]:
    """What raises the score, in words: at most two past items, those that were disliked apart from the others."""
    had: list[str] = []
    disliked: list[str] = []
    for item in items[:2]:
        if item["contribution"] > 0:
            (disliked if item.get("weight", 1) < 0 else had).append(item["title"])
    causes = [f"{VERBS.get(source, 'you had')} {' and '.join(had)}"] if had else []
    return [*causes, f"you did not like {' and '.join(disliked)}"] if disliked else causes


def rules_clause(share: float, *, pinned: bool) -> str:
    """What rules did to an item, as an own sentence; nothing where they did nothing."""
    if pinned:
        return " A rule put it in this place."
    return "" if not share else " A rule moved it up." if share > 0 else " A rule moved it down."


def reason(parts: Mapping[str, float], past: Sequence[str], own: float) -> str:
    """One plain sentence that the shares bear out: past are the causes that past items give, most first.

    Only what raises the score is named as a cause, and "mostly" stands only for more than half of the score.
    """
    score = sum(parts.values())
    causes = list(past)
    if own > 0 and (own > score / 2 or not causes):
        causes.insert(0, "it fits your own long-term taste")
    because = "Because " + " and ".join(causes) if causes else "The nearest to your taste of what is left"
    name, share = max(parts.items(), key=lambda part: part[1], default=("", 0.0))
    if share <= 0:
        return f"{because}."
    how = "mostly" if share > score / 2 > 0 else "most of all"
    return f"{because}; {how} {LOOKS_LIKE.get(name, name)}."
