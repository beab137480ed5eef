"""Metrics by hand, against recorded reference figures, and laws of the ranking."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.models.base import inner_products
from trainer.ranking_metrics import Truth, hits, per_user_metrics, rank_items, ranking_metrics, slice_metrics

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


def test_the_reciprocal_rank_of_the_first_hit_counts_only_within_k():
    metrics = one_user([4, 2, 7, 8], held_out=[7, 8], k=3)
    assert (metrics["mrr@3"], metrics["hit@3"]) == (pytest.approx(1 / 3), 1)
    assert (one_user([4, 2, 7], [7], k=2)["mrr@2"], one_user([4, 2, 7], [7], k=2)["hit@2"]) == (0, 0)
    assert one_user([4, 2, 1], [7], k=3)["mrr@3"] == 0


def test_places_that_a_list_could_not_fill_are_misses_even_where_the_last_item_is_held_out():
    metrics = one_user([5, -1, -1], held_out=[99], k=3)
    assert set(metrics.values()) == {0.0}


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
        ranked = rank_items(lambda rows: scores[rows], seen, truth.users, 50)
        metrics = ranking_metrics(ranked, truth, (5, 10, 20, 50))
        recorded = {name.partition("/")[2]: float(golden[name]) for name in golden if name.startswith(split)}
        assert len(recorded) == 16
        for name, value in recorded.items():
            # The reference rounds; 0.04625 falls on either side, so half a unit of the last place is the agreement.
            assert metrics[name] == pytest.approx(value, abs=0.5001e-4), (split, name)


@given(seed=st.integers(0, 10**6), k=st.integers(1, 30))
def test_ranking_never_returns_what_was_seen_and_is_sorted_by_score(seed, k):
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(6, 4)), rng.normal(size=(20, 4))
    seen = sp.random(6, 20, density=0.3, format="csr", random_state=seed)
    ranked = rank_items(inner_products(torch.from_numpy(users), torch.from_numpy(items)), seen, np.arange(6), k)
    assert ranked.shape == (6, min(k, 20))
    scores = users @ items.T
    for user, row in enumerate(ranked):
        n_unseen = min(k, 20 - seen[user].nnz)
        assert set(row[n_unseen:]) <= {-1}
        assert not set(row[:n_unseen]) & {-1, *seen[user].indices}
        assert (np.diff(scores[user][row[:n_unseen]]) <= 1e-12).all()


def test_ranking_in_blocks_equals_ranking_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    users, items = torch.from_numpy(rng.normal(size=(50, 4))), torch.from_numpy(rng.normal(size=(30, 4)))
    seen = sp.random(50, 30, density=0.2, format="csr", random_state=1)
    at_once = rank_items(inner_products(users, items), seen, np.arange(50), 5)
    monkeypatch.setattr("trainer.ranking_metrics._SCORES_AT_ONCE", 100)
    np.testing.assert_array_equal(rank_items(inner_products(users, items), seen, np.arange(50), 5), at_once)


def test_slices_count_the_held_out_items_of_the_slice_alone_and_leave_out_users_without_any():
    truth = Truth.of(np.array([0, 0, 0, 1]), np.array([1, 2, 3, 3]), 5)
    ranked = np.array([[3, 1, 0, 4], [3, 0, 1, 2]])
    chosen = np.array([False, True, True, False, True])
    metrics = slice_metrics(ranked, truth, chosen, (1, 4))
    assert metrics.keys() == {"recall@1", "ndcg@1", "recall@4", "ndcg@4"}
    np.testing.assert_allclose(metrics["recall@1"], [0, np.nan])
    np.testing.assert_allclose(metrics["recall@4"], [1 / 2, np.nan])
    np.testing.assert_allclose(metrics["ndcg@4"], [(1 / np.log2(3)) / (1 + 1 / np.log2(3)), np.nan])


lists = st.integers(0, 10**6).map(np.random.default_rng)


def random_world(rng) -> tuple[np.ndarray, Truth]:
    """Three users' lists of 12 of 30 items, and up to 8 held-out items of each."""
    held_out = [(user, item) for user in range(3) for item in rng.choice(30, rng.integers(1, 9), replace=False)]
    users, items = np.array(held_out).T
    return np.stack([rng.permutation(30)[:12] for _ in range(3)]), Truth.of(users, items, 30)


@given(rng=lists, k=st.integers(1, 20))
def test_every_metric_of_every_user_lies_between_0_and_1(rng, k):
    ranked, truth = random_world(rng)
    for name, values in per_user_metrics(hits(ranked, truth), truth.counts, (k,)).items():
        assert ((values >= 0) & (values <= 1 + 1e-12)).all(), name


@given(rng=lists, k=st.integers(1, 12))
def test_a_perfect_ranking_gets_all_that_can_be_had(rng, k):
    _, truth = random_world(rng)
    perfect = np.argsort(-truth.items.toarray(), axis=1, kind="stable")[:, :12]
    metrics = per_user_metrics(hits(perfect, truth), truth.counts, (k,))
    for name in ("ndcg", "map", "mrr", "hit"):
        np.testing.assert_allclose(metrics[f"{name}@{k}"], 1)
    np.testing.assert_allclose(metrics[f"recall@{k}"], np.minimum(truth.counts, k) / truth.counts)
    np.testing.assert_allclose(metrics[f"precision@{k}"], np.minimum(truth.counts, k) / k)


@given(rng=lists)
def test_a_longer_list_never_loses_recall_hits_or_reciprocal_rank(rng):
    ranked, truth = random_world(rng)
    metrics = per_user_metrics(hits(ranked, truth), truth.counts, (3, 7, 12))
    for name in ("recall", "hit", "mrr"):
        assert (metrics[f"{name}@3"] <= metrics[f"{name}@7"]).all()
        assert (metrics[f"{name}@7"] <= metrics[f"{name}@12"]).all()


@given(rng=lists)
def test_the_slice_of_all_items_is_no_slice(rng):
    ranked, truth = random_world(rng)
    metrics = per_user_metrics(hits(ranked, truth), truth.counts, (5,))
    for name, values in slice_metrics(ranked, truth, np.ones(30, dtype=bool), (5,)).items():
        np.testing.assert_allclose(values, metrics[name])


def test_a_list_far_longer_than_the_catalogue_takes_no_memory_for_what_is_not_there():
    hit = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    short, long = (per_user_metrics(hit, np.array([3, 1]), (k,)) for k in (3, 10**12))
    assert long[f"recall@{10**12}"].tolist() == short["recall@3"].tolist()
    assert long[f"ndcg@{10**12}"].tolist() == short["ndcg@3"].tolist()
    assert long[f"precision@{10**12}"].tolist() == [2e-12, 0.0]
