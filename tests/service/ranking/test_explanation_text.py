"""The sentence of an explanation is true of the numbers beside it, whatever they are."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.recommending.attribution import RoundedShares, ScoreShares
from index.recommending.sentences import (
    HAD_BY_NO_USER,
    OWN_REST,
    OWN_TASTE,
    PART_PHRASES,
    PastItems,
    explanation_sentences,
    popular_sentence,
    rules_sentence,
)
from service.http.responses import Explanation
from service.ranking.explanation_text import render_explanations
from service.ranking.item_metadata import ShownItem


def past_of(count: int = 0, source: str = "user", *, has_taste: bool = True) -> PastItems:
    return PastItems(np.empty((0, 0)), np.empty((0, 0)), source, count, has_taste)


def shares_of(
    *past: float,
    own: float = 0.0,
    others: float = 0.0,
    parts: Mapping[str, float] | None = None,
    rules: float | None = None,
) -> RoundedShares:
    """The shares of one item: past items called film 0, film 1, ..., and by default one part with all of the score."""
    by_part = {"image": sum(past) + own + others} if parts is None else parts
    shares = ScoreShares(
        {name: np.array([share]) for name, share in by_part.items()},
        np.array([own]),
        np.zeros((len(past), 1), np.int64),
        np.array(past).reshape(-1, 1),
        np.array([others]),
    )
    return RoundedShares.of(shares, None if rules is None else np.array([rules]))


def explanation_sentence(
    shares: RoundedShares, past: PastItems, *, pinned: bool = False, had_by_users: bool = True, weights: Any = None
) -> str:
    titles = [[f"film {i}"] for i in range(shares.n_past)]
    (said,) = explanation_sentences(
        shares, titles, past, weights=weights, pinned=[pinned], user_counts=[int(had_by_users)]
    )
    return said


def test_past_items_that_carry_most_of_the_score_are_the_reason() -> None:
    said = explanation_sentence(shares_of(0.5, 0.2, 0.1, own=0.1), past_of(3))
    assert said == "Because you had film 0 and film 1; mostly its looks."


def test_a_new_item_is_said_to_be_new_and_what_its_words_and_looks_add() -> None:
    parts = {"id": 0.0, "text": 0.6, "image": 0.1, "anchor": 0.1}
    titles = [["film 0"], ["film 1"]]

    def said(new: bool, **changed: float) -> str:
        shares = shares_of(0.5, 0.3, parts=parts | changed)
        (sentence,) = explanation_sentences(shares, titles, past_of(2), user_counts=[0], new=[new])
        return sentence

    assert said(new=True) == ("Because you had film 0 and film 1; new: no user has had it yet; mostly its description.")
    assert said(new=True, text=0.1, anchor=0.6).endswith("; mostly what all items have in common.")
    assert said(new=False) == "Because you had film 0 and film 1; mostly its description."


def test_past_items_that_carry_little_are_named_among_all_of_them() -> None:
    said = explanation_sentence(shares_of(0.5, 0.2, 0.1, others=3.0), past_of(41))
    assert said == "Among 41 past items, most of all film 0 and film 1; mostly its looks."


def test_of_a_short_past_whose_items_are_all_named_they_are_part_of_the_reason() -> None:
    said = explanation_sentence(shares_of(0.5, 0.2, own=0.7), past_of(2))
    assert said == "Partly because you had film 0 and film 1; mostly its looks."


def test_the_users_own_term_is_called_a_taste_only_where_the_model_has_one() -> None:
    shares = shares_of(0.2, own=1.3)
    assert explanation_sentence(shares, past_of(1)) == f"Because {OWN_TASTE}; mostly its looks."
    said = explanation_sentence(shares, past_of(1, has_taste=False))
    assert said == f"Because {OWN_REST}; mostly its looks."


def test_a_part_below_half_of_the_score_is_not_called_most_of_it() -> None:
    said = explanation_sentence(shares_of(1.0, parts={"text": 0.3, "image": 0.4, "id": 0.3}), past_of(1))
    assert said == "Because you had film 0; above all its looks."


def test_where_nothing_speaks_for_an_item_the_sentence_says_so() -> None:
    said = explanation_sentence(shares_of(-0.5, own=-0.5, parts={"text": -1.5, "image": 0.5}), past_of(1))
    assert said == "Nothing that is known of you speaks for it."


def test_a_rule_that_carries_most_of_the_score_leaves_no_other_reason() -> None:
    said = explanation_sentence(shares_of(0.5, 0.2, rules=1.0), past_of(2))
    assert said == "Partly because you had film 0 and film 1; mostly its looks. A rule moved it up."


def test_a_pinned_item_is_there_because_of_its_rule() -> None:
    said = explanation_sentence(shares_of(0.5), past_of(1), pinned=True)
    assert said == "You had film 0; mostly its looks. A rule put it in this place."


def test_an_item_that_no_user_had_is_not_explained_by_who_had_it() -> None:
    said = explanation_sentence(shares_of(0.5, parts={"id": 0.5}), past_of(1), had_by_users=False)
    assert said == f"Because you had film 0; mostly {HAD_BY_NO_USER['id']}."


share = st.floats(-5, 5, width=32).map(lambda value: round(value, 6))  # as in a response


@given(
    past=st.lists(share, max_size=3).map(lambda shares: sorted(shares, reverse=True)),
    own=share,
    others=share,
    rules=st.none() | share,
    parts=st.dictionaries(st.sampled_from(sorted(PART_PHRASES)), share, min_size=1),
    more=st.integers(0, 40),
    source=st.sampled_from(["user", "fold_in", "session"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_sentence_is_true_of_its_shares(
    *,
    past: list[float],
    own: float,
    others: float,
    rules: float | None,
    parts: dict[str, float],
    more: int,
    source: str,
    flags: tuple[bool, bool, bool],
) -> None:
    has_taste, pinned, had_by_users = flags
    if not more:
        others = 0.0
    elif past:
        others = min(others, more * past[-1])  # the named ones are the largest
    shares = shares_of(*past, own=own, others=others, parts=parts, rules=rules)
    about = past_of(len(past) + more, source, has_taste=has_taste)
    said = explanation_sentence(shares, about, pinned=pinned, had_by_users=had_by_users)

    named = {int(i) for i in re.findall(r"film (\d)", said)}
    by_named = sum(past[i] for i in named)
    score = sum(past) + own + others + (rules or 0.0)
    assert all(past[i] > 0 and i < 2 for i in named)
    assert said.endswith(".")
    # "Because" is said of more than half of the score, and of a rule's work never.
    if said.startswith("Because") and named:
        assert by_named > score / 2 > 0
    elif said.startswith("Because"):
        assert own > score / 2 > 0
    assert not (pinned and "because" in said.lower())
    if said.startswith("Among"):
        assert f"Among {len(past) + more} past items" in said
    # The user's own term is called a taste only where the model has one, and only where it raises the score.
    assert (OWN_TASTE not in said) or (has_taste and own > 0)
    assert (OWN_REST not in said) or (not has_taste and own > 0)
    if said.startswith("Nothing"):
        assert max([*past, own]) <= 0
    # Of the parts the largest is named, and "mostly" is more than half of the sum of all.
    name = max(parts, key=lambda part: parts[part])
    phrases = PART_PHRASES if had_by_users else PART_PHRASES | HAD_BY_NO_USER
    clause = re.search(r"; (mostly|above all) ([^.;]+)\.", said)
    if clause:
        assert clause[2] == phrases[name]
        assert parts[name] > 0
        assert clause[1] == "above all" or parts[name] > sum(parts.values()) / 2 > 0
    # A rule is told where it moved the item, in the direction of its share.
    assert said.endswith(" A rule put it in this place.") == pinned
    assert said.endswith(" A rule moved it up.") == (not pinned and (rules or 0.0) > 0)
    assert said.endswith(" A rule moved it down.") == (not pinned and (rules or 0.0) < 0)


def shown(row: int) -> ShownItem:
    item_id, title = f"i{row}", f'Film "{row}",\\"'
    in_past = orjson.dumps({"item_id": item_id, "title": title})[:-1]
    return ShownItem(item_id, title, b"", in_past)


@given(
    k=st.integers(1, 12),
    n=st.integers(0, 5),
    p=st.integers(1, 5),
    seed=st.integers(0, 999),
    ranked=st.booleans(),
    boosted=st.booleans(),
    weighted=st.booleans(),
)
def test_an_explanation_is_the_json_that_its_model_writes(
    *, k: int, n: int, p: int, seed: int, ranked: bool, boosted: bool, weighted: bool
) -> None:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (rng.integers(-9_000, 9_000, shape) / 1_000).astype(np.float32)  # noqa: E731 - short, local
    found = ScoreShares(
        {name: draw(k) for name in sorted(PART_PHRASES)[:p]}, draw(k), rng.integers(0, 9, (n, k)), draw(n, k), draw(k)
    )
    weights = draw(n, k) if weighted else np.ones((n, k), np.float32)
    past = PastItems(rng.integers(0, 9, (n, k)), weights, "user", count=n + 2)
    ranks = rng.integers(0, 3, (n, k)) if ranked else None
    shares = draw(k) if boosted else None
    told = render_explanations(found, past, shown, ranks, shares=shares, user_counts=[1] * k)
    assert len(told) == k
    for i, one in enumerate(told):
        model = Explanation.model_validate_json(one)
        assert one == orjson.dumps(model.model_dump(exclude_unset=True))
        assert model.parts == {name: share[i] for name, share in rounded_parts(found).items()}
        assert [item.contribution for item in model.past_items or ()] == pytest.approx(found.contributions[:, i])
        assert [item.item_id for item in model.past_items or ()] == [f"i{row}" for row in past.rows[:, i]]
        assert (model.rules is None) == (shares is None)


def rounded_parts(found: ScoreShares) -> dict[str, list[float]]:
    return {name: [round(float(value), 6) for value in share] for name, share in found.parts.items()}


def test_an_explanation_is_told_item_by_item() -> None:
    found = ScoreShares(
        parts={"id": np.float32([1, 2]), "text": np.float32([3, -1])},
        own=np.float32([0.5, 0.25]),
        past=np.array([[0, 1]]),
        contributions=np.float32([[3, 0.5]]),
        others=np.float32([0.5, 0.25]),
    )
    past = PastItems(np.array([[7, 8]]), np.ones((1, 2)), "user", count=2)
    told = [orjson.loads(one) for one in render_explanations(found, past, shown, np.array([[4, 0]]))]
    assert told[0] == {
        "sentence": f"Because you had {shown(7).name}; mostly its description.",
        "parts": {"id": 1.0, "text": 3.0},
        "past_items": [{"item_id": "i7", "title": shown(7).name, "contribution": 3.0, "rank_without": 4}],
        "other_past_items": 0.5,
        "user_own": 0.5,
    }
    assert told[1]["past_items"][0]["rank_without"] is None
    assert next(iter(told[0])) == "sentence"


def test_what_was_disliked_is_told_apart_and_what_a_session_looked_at_is_not_called_had() -> None:
    shares, weights = shares_of(0.5, 0.2, others=0.1), [[1], [-0.5]]
    told = explanation_sentence(shares, past_of(3, "session"), weights=weights)
    assert told.startswith("Because you looked at film 0 and you did not like film 1; ")
    told = explanation_sentence(shares_of(0.5, 0.2, others=9.0), past_of(3, "session"), weights=weights)
    assert told.startswith("Among 3 past items, most of all film 0 and film 1, which you did not like; ")


def test_rules_say_what_they_did_to_an_item() -> None:
    assert rules_sentence(0.0, pinned=False) == ""
    assert rules_sentence(0.3, pinned=False) == " A rule moved it up."
    assert rules_sentence(-0.3, pinned=False) == " A rule moved it down."
    assert rules_sentence(0.3, pinned=True) == " A rule put it in this place."


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "No user has had it yet;"), (1, "Popular: 1 person had it;"), (7, "Popular: 7 people had it;")],
)
def test_a_popular_item_is_told_with_its_users(count: int, said: str) -> None:
    assert popular_sentence(count).startswith(said)
