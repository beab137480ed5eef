"""Metrics by hand, against recorded reference figures, and laws of the ranking."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluate import Truth, rank_items, ranking_metrics

GOLDENS = Path(__file__).parent / "goldens"


def one_user(ranked: list[int], held_out: list[int], k: int) -> dict[str, float]:
    truth = Truth.of(np.zeros(len(held_out), dtype=int), np.array(held_out), 100)
    return ranking_metrics(np.array([ranked]), truth, (k,))


def test_a_hit_at_ranks_one_and_three_of_three_held_out_items():
    metrics = one_user([7, 1, 8, 2], held_out=[7, 8, 9], k=4)
    assert metrics["recall@4"] == pytest.approx(2 / 3)
    assert metrics["precision@4"] == pytest.approx(2 / 4)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert metrics["ndcg@4"] == pytest.approx((1 + 1 / np.log2(4)) / ideal)
    assert metrics["map@4"] == pytest.approx((1 / 1 + 2 / 3) / 3)


def test_with_more_held_out_items_than_k_a_full_list_is_still_perfect_ndcg():
    metrics = one_user([1, 2], held_out=[1, 2, 3, 4], k=2)
    assert metrics["ndcg@2"] == pytest.approx(1)
    assert metrics["map@2"] == pytest.approx(1)
    assert metrics["recall@2"] == pytest.approx(0.5)


def test_a_list_shorter_than_k_counts_its_missing_places_as_misses():
    metrics = one_user([5], held_out=[5], k=10)
    assert metrics["recall@10"] == 1
    assert metrics["precision@10"] == pytest.approx(0.1)


def test_users_without_held_out_items_are_not_evaluated():
    truth = Truth.of(np.array([4, 9]), np.array([0, 1]), 3)
    np.testing.assert_array_equal(truth.users, [4, 9])
    ranked = np.array([[0, 1], [2, 0]])
    assert ranking_metrics(ranked, truth, (1,))["recall@1"] == pytest.approx(0.5)


def test_the_evaluator_agrees_with_the_reference_to_its_four_decimals():
    golden = np.load(GOLDENS / "golden_eval.npz")
    users, items, _, _, labels = golden["inter"].astype(np.int64).T
    scores = torch.from_numpy(golden["scores"]).double()
    n_items = scores.shape[1]
    train = labels == 0
    seen = sp.csr_matrix((np.ones(train.sum()), (users[train], items[train])), shape=scores.shape)
    for split, label in (("valid", 1), ("test", 2)):
        held_out = (labels == label) & np.isin(users, users[train])
        truth = Truth.of(users[held_out], items[held_out], n_items)
        ranked = rank_items(scores, torch.eye(n_items, dtype=torch.float64), seen, truth.users, 50)
        for name, value in ranking_metrics(ranked, truth, (5, 10, 20, 50)).items():
            # The reference rounds; 0.04625 falls on either side, so half a unit of the last place is the agreement.
            assert value == pytest.approx(float(golden[f"{split}/{name}"]), abs=0.5001e-4), (split, name)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 30))
def test_ranking_never_returns_what_was_seen_before_the_unseen_and_is_sorted_by_score(seed, k):
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(6, 4)), rng.normal(size=(20, 4))
    seen = sp.random(6, 20, density=0.3, format="csr", random_state=seed)
    ranked = rank_items(torch.from_numpy(users), torch.from_numpy(items), seen, np.arange(6), k)
    assert ranked.shape == (6, min(k, 20))
    scores = users @ items.T
    for user, row in enumerate(ranked):
        unseen = [item for item in row if item not in seen[user].indices]
        assert list(row[: len(unseen)]) == unseen
        assert len(unseen) == min(k, 20 - seen[user].nnz)
        assert (np.diff(scores[user][unseen]) <= 1e-12).all()


def test_ranking_in_blocks_equals_ranking_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    users, items = torch.from_numpy(rng.normal(size=(50, 4))), torch.from_numpy(rng.normal(size=(30, 4)))
    seen = sp.random(50, 30, density=0.2, format="csr", random_state=1)
    at_once = rank_items(users, items, seen, np.arange(50), 5)
    monkeypatch.setattr("trainer.evaluate._SCORES_AT_ONCE", 100)
    np.testing.assert_array_equal(rank_items(users, items, seen, np.arange(50), 5), at_once)
