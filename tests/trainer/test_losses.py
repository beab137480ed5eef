"""Losses against hand arithmetic and against their own definitions written out densely."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from trainer import losses


def random_rows(seed: int, rows: int, width: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bpr_of_equal_scores_is_log_two():
    same = torch.zeros(5)
    assert losses.bpr(same, same).item() == pytest.approx(math.log(2))
    assert losses.bpr_clipped(same, same).item() == pytest.approx(math.log(2))


def test_bpr_falls_as_the_positive_rises_above_the_negative():
    low = losses.bpr(torch.tensor([1.0]), torch.tensor([0.0]))
    high = losses.bpr(torch.tensor([3.0]), torch.tensor([0.0]))
    assert high < low
    assert low.item() == pytest.approx(-math.log(1 / (1 + math.exp(-1))))


def test_bpr_of_a_hopeless_pair_is_large_but_finite():
    assert losses.bpr(torch.tensor([-500.0]), torch.tensor([500.0])).item() == pytest.approx(1000.0)


def test_the_frobenius_penalty_adds_norms_and_divides_by_the_last_table():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 6.0], [8.0, 0.0]])
    assert losses.frobenius_penalty(a, b).item() == pytest.approx((5 + 10) / 2)


def test_squared_norms_are_halved_and_divided_by_the_configured_batch_size():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0]])
    assert losses.squared_norms(a, b, batch_size=4).item() == pytest.approx(0.5 * 27 / 4)


def test_the_cosine_gap_is_zero_for_parallel_rows_and_two_for_opposite_ones():
    rows = random_rows(0, 4, 3)
    assert losses.cosine_gap(rows, 7 * rows).item() == pytest.approx(0, abs=1e-9)
    assert losses.cosine_gap(rows, -rows).item() == pytest.approx(2)


def test_info_nce_by_hand_for_two_orthogonal_rows():
    rows = torch.eye(2, dtype=torch.float64)
    expected = -math.log(math.exp(1 / 0.5) / (math.exp(1 / 0.5) + 1))
    assert losses.info_nce(3 * rows, rows, 0.5).item() == pytest.approx(expected)


def test_the_margin_is_paid_only_where_the_negative_comes_too_near_and_never_by_the_user():
    users = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    positives = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    negatives = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    loss = losses.cosine_margin(users, positives, negatives)
    assert loss.item() == pytest.approx((0 + 1.2) / 2)
    loss.backward()
    assert users.grad is None
    assert positives.grad is not None


@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12), temperature=st.sampled_from([0.05, 0.2, 1.0]))
def test_info_nce_is_its_definition(seed, rows, temperature):
    a, b = random_rows(seed, rows, 4), random_rows(seed + 1, rows, 4)
    e = torch.exp(normalize(a) @ normalize(b).T / temperature)
    expected = -torch.log(e.diagonal() / e.sum(dim=1)).mean()
    torch.testing.assert_close(losses.info_nce(a, b, temperature), expected)
    both = losses.info_nce(a, b, temperature, both_directions=True)
    torch.testing.assert_close(both, (expected + losses.info_nce(b, a, temperature)) / 2)


@given(seed=st.integers(0, 10**6), rows=st.integers(2, 12), width=st.integers(1, 20))
def test_the_similarity_gap_is_the_mean_over_pairs_whatever_is_wider(seed, rows, width):
    embeddings, features = random_rows(seed, rows, 5), normalize(random_rows(seed + 1, rows, width))
    gaps = (normalize(embeddings) @ normalize(embeddings).T - features @ features.T) ** 2
    pairs = ~torch.eye(rows, dtype=torch.bool)
    torch.testing.assert_close(losses.similarity_gap(embeddings, features), gaps[pairs].mean())


@given(counts=st.lists(st.integers(1, 4), min_size=2, max_size=8), width=st.integers(1, 20))
def test_counts_stand_for_rows_written_out(counts, width):
    n, times = len(counts), torch.tensor(counts)
    embeddings, features = random_rows(3, n, 5), normalize(random_rows(4, n, width))
    written_out = [rows.repeat_interleave(times, dim=0) for rows in (embeddings, features)]
    for gap in (losses.similarity_gap, losses.similarity_gap_frobenius):
        torch.testing.assert_close(gap(embeddings, features, times), gap(*written_out))


def test_the_similarity_gap_has_the_gradient_of_its_definition():
    embeddings, features = random_rows(0, 9, 5).requires_grad_(), normalize(random_rows(1, 9, 30))
    (ours,) = torch.autograd.grad(losses.similarity_gap(embeddings, features), embeddings)
    unit = normalize(embeddings)
    dense = ((unit @ unit.T - features @ features.T) ** 2).sum() / (9 * 8)
    (theirs,) = torch.autograd.grad(dense, embeddings)
    torch.testing.assert_close(ours, theirs)


def test_from_a_sample_the_similarity_gap_is_near_its_value_and_its_gradient_is_the_same():
    embeddings, features = random_rows(0, 900, 8).requires_grad_(), normalize(random_rows(1, 900, 40))
    exact = losses.similarity_gap(embeddings, features, sampled_rows=None)
    sampled = losses.similarity_gap(embeddings, features, sampled_rows=200)
    assert sampled.item() == pytest.approx(exact.item(), rel=0.02)
    gradients = [torch.autograd.grad(loss, embeddings)[0] for loss in (exact, sampled)]
    assert torch.equal(*gradients)


def test_the_similarity_gap_vanishes_when_the_embeddings_keep_the_features_cosines():
    features = normalize(random_rows(2, 6, 4))
    assert losses.similarity_gap(3 * features, features).item() == pytest.approx(0, abs=1e-12)


def test_a_batch_of_one_item_has_no_pairs_and_no_gap():
    one = random_rows(0, 1, 3)
    assert losses.similarity_gap(one, normalize(one)).item() == pytest.approx(0, abs=1e-12)


def test_the_released_form_compares_unnormalised_products():
    embeddings, features = random_rows(0, 5, 3), normalize(random_rows(1, 5, 7))
    expected = np.linalg.norm((embeddings @ embeddings.T - features @ features.T).numpy()) / 5
    assert losses.similarity_gap_frobenius(embeddings, features).item() == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 9), st.sampled_from([0.05, 0.2, 1.0]))
@example(630, 20, 4, 0.05)  # its loss of 11 shows shares that were rounded to float32 on the way
def test_info_nce_of_a_batch_is_that_of_its_rows_however_often_they_repeat(seed, n_drawn, n_rows, temperature):
    a, b = (random_rows(seed + i, n_rows, 4).requires_grad_() for i in range(2))
    drawn = torch.from_numpy(np.random.default_rng(seed).integers(0, n_rows, n_drawn))
    logits = normalize(a[drawn]) @ normalize(b[drawn]).T / temperature
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(n_drawn))
    found = losses.info_nce_of(drawn, a, b, temperature)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(value, (a, b)) for value in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 9))
def test_the_contrast_with_all_sums_over_the_batch_and_compares_with_every_row(seed, n_drawn, n_rows):
    views, everything = (random_rows(seed + i, n_rows, 4) for i in range(2))
    drawn = torch.from_numpy(np.random.default_rng(seed).integers(0, n_rows, n_drawn))
    logits = normalize(views[drawn]) @ normalize(everything).T / 0.2
    expected = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
    torch.testing.assert_close(losses.contrast_with_all(drawn, views, everything, 0.2), expected)


def test_log_sum_exp_has_the_gradient_that_finite_differences_give_and_does_not_overflow():
    rows, targets = (random_rows(seed, 5, 3).requires_grad_() for seed in range(2))
    assert torch.autograd.gradcheck(losses.log_sum_exp, (rows, targets, torch.randn(5, dtype=torch.float64)))
    assert losses.log_sum_exp(900 * rows, 900 * targets).isfinite().all()
