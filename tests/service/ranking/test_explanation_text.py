import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ranking.attribution import ScoreShares
from service.ranking.explanation_text import (
    PART_PHRASES,
    PastItems,
    past_causes,
    reason_sentence,
    render_explanations,
    rules_sentence,
)

share = st.floats(-5, 5, width=32)


def past_of(*items: tuple[str, float], source: str = "user") -> list[str]:
    return past_causes([{"title": title, "contribution": value} for title, value in items], source)


def test_the_past_items_and_the_part_that_weigh_most_are_named() -> None:
    said = reason_sentence({"text": 0.2, "image": 0.7}, past_of(("Alien", 0.5), ("Heat", 0.2), ("Up", 0.1)), own=0.1)
    assert said == "Because you had Alien and Heat; mostly its looks."


def test_a_part_below_half_of_the_score_is_not_called_most_of_it() -> None:
    said = reason_sentence({"text": 0.3, "image": 0.4, "id": 0.3}, past_of(("Alien", 1.0)), own=0.0)
    assert said == "Because you had Alien; most of all its looks."


def test_what_pulls_the_score_down_is_never_named_as_a_cause() -> None:
    said = reason_sentence({"text": 1.0}, past_of(("Alien", -0.1), ("Heat", -0.2)), own=1.3)
    assert said == "Because it fits your own long-term taste; mostly its description."


def test_where_nothing_speaks_for_an_item_the_sentence_says_so() -> None:
    assert (
        reason_sentence({"text": -1.0}, past_of(("Alien", -0.5)), own=-0.5)
        == "The nearest to your taste of what is left."
    )


@given(st.dictionaries(st.sampled_from(sorted(PART_PHRASES)), share, min_size=1), st.lists(share, max_size=3), share)
def test_the_sentence_is_true_of_its_shares(parts: dict[str, float], past: list[float], own: float) -> None:
    past = sorted(past, reverse=True)
    said = reason_sentence(parts, past_of(*((f"film {i}", value) for i, value in enumerate(past))), own)
    assert all(past[int(i)] > 0 for i in re.findall(r"film (\d)", said))
    assert ("long-term taste" not in said) or own > 0
    named = [name for name, words in PART_PHRASES.items() if said.endswith(f" {words}.")]
    assert all(parts[name] == max(parts.values()) > 0 for name in named)
    if "mostly" in said:
        assert parts[named[0]] > sum(parts.values()) / 2 > 0


def test_an_explanation_is_told_item_by_item() -> None:
    found = ScoreShares(
        parts={"id": np.float32([1, 2]), "text": np.float32([3, -1])},
        own=np.float32([0.5, 0.25]),
        past=np.array([[0, 1]]),
        contributions=np.float32([[3, 0.5]]),
        others=np.float32([0.5, 0.25]),
    )
    past = PastItems(np.array([[7, 8]]), np.ones((1, 2)), "user")
    told = list(render_explanations(found, past, lambda row: (f"i{row}", f"Film {row}"), np.array([[4, 0]])))
    assert told[0] == {
        "sentence": "Because you had Film 7; mostly its description.",
        "parts": {"id": 1.0, "text": 3.0},
        "past_items": [{"item_id": "i7", "title": "Film 7", "contribution": 3.0, "rank_without": 4}],
        "other_past_items": 0.5,
        "user_own": 0.5,
    }
    assert told[1]["past_items"][0]["rank_without"] is None


def test_what_was_disliked_is_told_apart_and_what_a_session_looked_at_is_not_called_had() -> None:
    items = [
        {"title": "Alien", "contribution": 0.5, "weight": 2.0},
        {"title": "Up", "contribution": 0.2, "weight": -0.5},
    ]
    assert past_causes(items, "session") == ["you looked at Alien", "you did not like Up"]
    assert past_causes(items[:1], "fold_in") == ["you had Alien"]


def test_rules_say_what_they_did_to_an_item() -> None:
    assert rules_sentence(0.0, pinned=False) == ""
    assert rules_sentence(0.3, pinned=False) == " A rule moved it up."
    assert rules_sentence(-0.3, pinned=False) == " A rule moved it down."
    assert rules_sentence(0.3, pinned=True) == " A rule put it in this place."
