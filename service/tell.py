"""An explanation as a person and a program read it: a sentence, and shares that sum to the score."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from service.explain import Explanation

Array = np.ndarray[Any, Any]

DECIMALS = 6  # far below the 1e-4 to which the shares sum, and short enough to read

LOOKS_LIKE = {
    "id": "who else had it",
    "text": "its description",
    "image": "its looks",
    "multimodal": "its looks and description together",
    "anchor": "its ties to items like it",
}


def tell(
    found: Explanation, past_rows: Array, name: Callable[[int], tuple[str, str]], ranks: Array | None = None
) -> Iterator[dict[str, Any]]:
    """One explanation an item of the answer; past_rows and ranks are (n, k), name gives an item's id and title."""
    parts = listed(np.stack(list(found.parts.values())))  # k lists, one share a part
    contributions, rows = listed(found.contributions), past_rows.T.tolist()
    own, others = listed(found.own), listed(found.others)
    for i, shares in enumerate(parts):
        past = [_past_item(*name(row), share) for row, share in zip(rows[i], contributions[i], strict=True)]
        if ranks is not None:
            for item, rank in zip(past, ranks[:, i].tolist(), strict=True):
                item["rank_without"] = rank or None
        by_part = dict(zip(found.parts, shares, strict=True))
        yield {
            "sentence": reason(by_part, [(item["title"], item["contribution"]) for item in past], own[i]),
            "parts": by_part,
            "past_items": past,
            "other_past_items": others[i],
            "user_own": own[i],
        }


def listed(values: Array) -> list[Any]:
    """The values (k,), or each column of (n, k), as rounded Python numbers: numpy's own are slow one by one."""
    rounded: list[Any] = np.round(values.astype(np.float64), DECIMALS).T.tolist()
    return rounded


def _past_item(item_id: str, title: str, contribution: float) -> dict[str, Any]:
    return {"item_id": item_id, "title": title, "contribution": contribution}


def reason(parts: Mapping[str, float], past: Sequence[tuple[str, float]], own: float) -> str:
    """One plain sentence that the shares bear out: past as (title, contribution), most first.

    Only what raises the score is named as a cause, and "mostly" stands only for more than half of the score.
    """
    score = sum(parts.values())
    titles = " and ".join(title for title, contribution in past[:2] if contribution > 0)
    causes = [f"you had {titles}"] if titles else []
    if own > 0 and (own > score / 2 or not causes):
        causes.insert(0, "it fits your own long-term taste")
    because = "Because " + " and ".join(causes) if causes else "The nearest to your taste of what is left"
    name, share = max(parts.items(), key=lambda part: part[1], default=("", 0.0))
    if share <= 0:
        return f"{because}."
    how = "mostly" if share > score / 2 > 0 else "most of all"
    return f"{because}; {how} {LOOKS_LIKE.get(name, name)}."
