"""Renders explanations: a sentence for people, and shares for programs that sum to the score."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.ranking.attribution import ScoreShares

Array = np.ndarray[Any, Any]

DECIMALS = 6  # far below the 1e-4 to which the shares sum, and short enough to read

VERBS = {"session": "you looked at"}  # by the profile's source; otherwise "you had"

PART_PHRASES = {
    "id": "who else had it",
    "text": "its description",
    "image": "its looks",
    "multimodal": "its looks and description together",
    "anchor": "its ties to items like it",
}


@dataclass(frozen=True, eq=False)
class PastItems:
    """The past items that an explanation names, largest share first, and the source of the profile."""

    rows: Array  # (n, k)
    weights: Array  # (n, k)
    source: str


def render_explanations(
    explanation: ScoreShares,
    past: PastItems,
    name: Callable[[int], tuple[str, str]],
    ranks: Array | None = None,
    *,
    shares: Array | None = None,
    pinned: Sequence[bool] = (),
) -> Iterator[dict[str, Any]]:
    """Yield one JSON explanation for each of the k items.

    ranks (n, k) are the counterfactual ranks; name gives the id and title of an item row; shares (k,) are what boosts
    add to the scores, None where there are no boosts; pinned (k,) marks the items that a rule pinned.
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
        share_by_part = dict(zip(explanation.parts, part_shares, strict=True))
        record = {
            "sentence": reason_sentence(share_by_part, past_causes(items, past.source), own[i]),
            "parts": share_by_part,
            "past_items": items,
            "other_past_items": others[i],
            "user_own": own[i],
        }
        if boosts is not None:
            record["rules"] = boosts[i]
        if boosts is not None or pinned:
            record["sentence"] += rules_sentence(record.get("rules", 0.0), pinned=bool(pinned) and pinned[i])
        yield record


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


def past_causes(items: Sequence[Mapping[str, Any]], source: str) -> list[str]:
    """Phrases that name at most two past items that raise the score, the disliked ones in a phrase of their own."""
    had: list[str] = []
    disliked: list[str] = []
    for item in items[:2]:
        if item["contribution"] > 0:
            (disliked if item.get("weight", 1) < 0 else had).append(item["title"])
    causes = [f"{VERBS.get(source, 'you had')} {' and '.join(had)}"] if had else []
    return [*causes, f"you did not like {' and '.join(disliked)}"] if disliked else causes


def rules_sentence(share: float, *, pinned: bool) -> str:
    """A sentence that says how rules moved an item; empty where they did not."""
    if pinned:
        return " A rule put it in this place."
    return "" if not share else " A rule moved it up." if share > 0 else " A rule moved it down."


def reason_sentence(parts: Mapping[str, float], past_causes: Sequence[str], own: float) -> str:
    """The sentence that says why an item was recommended, from the shares by part and by the user's own term.

    It names as a cause only what raises the score, and says "mostly" only of more than half of the score.
    """
    score = sum(parts.values())
    causes = list(past_causes)
    if own > 0 and (own > score / 2 or not causes):
        causes.insert(0, "it fits your own long-term taste")
    because = "Because " + " and ".join(causes) if causes else "The nearest to your taste of what is left"
    name, share = max(parts.items(), key=lambda part: part[1], default=("", 0.0))
    if share <= 0:
        return f"{because}."
    how = "mostly" if share > score / 2 > 0 else "most of all"
    return f"{because}; {how} {PART_PHRASES.get(name, name)}."
