"""The order of events in AnchorEASE: what follows what is counted, filtered and divided as the equations say."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from trainer.data import Interactions
from trainer.graph import SparseMatrix
from trainer.histories import Histories
from trainer.inputs import make_inputs
from trainer.model_settings import AnchorEASESettings
from trainer.models import Work, build_model

CPU = torch.device("cpu")


def histories(lists: list[list[int]], n_items: int) -> Histories:
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists]).astype(np.int32)
    items = np.array([item for one in lists for item in one], np.int32)
    times = np.arange(len(items), dtype=np.int64)
    return Histories.of(Interactions(users, items, times, np.zeros(len(items), np.int8)), len(lists), n_items)


def naive_followers(lists: list[list[int]], n_items: int, length: int, weights: np.ndarray) -> np.ndarray:
    total = np.zeros((n_items, n_items))
    for items, weight in zip(lists, weights, strict=True):
        for place, earlier in enumerate(items):
            for gap, later in enumerate(items[place + 1 :], start=1):
                total[earlier, later] += weight * max(0, 1 - gap / length)
    return total


@given(
    lists=st.lists(st.lists(st.integers(0, 7), max_size=8, unique=True), min_size=1, max_size=5),
    length=st.integers(1, 10),
)
def test_each_pair_in_a_history_counts_by_how_soon_the_second_follows(lists, length):
    weights = np.arange(1.0, len(lists) + 1)
    found = histories(lists, 8).followers(length, weights, sum(map(len, lists))).toarray()
    np.testing.assert_allclose(found, naive_followers(lists, 8, length, weights), rtol=1e-5, atol=1e-6)


def model_of(lists, settings, features=None):
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for one in lists for item in one])
    inputs = make_inputs(
        users,
        items,
        len(lists),
        8,
        features=features or {},
        settings=settings,
        device=CPU,
        timestamps=np.arange(len(items)),
    )
    return build_model(settings, inputs, batch_size=1, seed=0)


LISTS = [[0, 1, 2, 3], [1, 2, 3, 4], [2, 0, 5, 1], [6, 7, 1, 2], [3, 6, 0]]
PLAIN = {
    "smoothing": {"text": 0.0, "image": 0.0},
    "kappa": 0.0,
    "order_share": 0.0,
    "embedding_size": 5,
    "recency_tau": "inf",
}


def naive_b0(model, s: AnchorEASESettings) -> np.ndarray:
    x = model._inputs.histories.binary().toarray()
    d, n = np.maximum(x.sum(1), 1), np.maximum(x.sum(0), 1)
    z = d[:, None] ** -s.user_power * x * n**-s.row_power
    count = naive_followers(LISTS, 8, s.window, d ** (-2 * s.user_power))
    count = n[:, None] ** -s.row_power * count * n**-s.row_power
    scale = 1 if np.isinf(s.ridge) else 1 / (s.ridge * np.diag(z.T @ z).mean())
    k = scale * z.T @ z
    p = np.eye(8) if np.isinf(s.ridge) else np.linalg.inv(np.eye(8) + k)
    c = p @ (k + s.direction * scale * (count - count.T))
    b0 = n[:, None] ** -s.input_power * c * n**s.output_power * np.diag(p) ** -s.diagonal_power
    np.fill_diagonal(b0, 0)
    return b0


@pytest.mark.parametrize("ridge", [3.0, "inf"])
@pytest.mark.parametrize("exact_up_to", [8, 1])
def test_the_filter_with_a_direction_is_that_of_the_equations(ridge, exact_up_to):
    settings = AnchorEASESettings.model_validate(
        PLAIN | {"direction": 0.7, "ridge": ridge, "exact_up_to": exact_up_to, "rank": 8}
    )
    model = model_of(LISTS, settings)
    with torch.no_grad():
        found = model.autoencoder(Work()).unsmoothed(torch.eye(8)).numpy()
        backwards = model.autoencoder(Work()).transposed_times(torch.eye(8)).numpy()
    np.testing.assert_allclose(found, naive_b0(model, settings), atol=2e-5)
    np.testing.assert_allclose(backwards, found.T, atol=2e-5)


def test_what_usually_comes_later_is_recommended_after_and_not_before():
    lists = [[0, 1], [0, 1], [0, 1], [2, 3], [3, 2], [0, 4]]
    settings = AnchorEASESettings.model_validate(PLAIN | {"direction": 0.9, "ridge": 1.0})
    with torch.no_grad():
        b = model_of(lists, settings).autoencoder(Work()).times(torch.eye(8))
    assert b[0, 1] > 2 * b[1, 0]
    assert float(b[2, 3]) == pytest.approx(float(b[3, 2]), rel=1e-4)


@given(power=st.sampled_from([-1.0, -0.5, 0.0, 0.5]), direction=st.sampled_from([0.0, 0.6]))
def test_parts_sum_and_users_fold_in_whatever_the_powers(power, direction):
    rng = np.random.default_rng(0)
    features = {"text": rng.normal(size=(8, 3)).astype(np.float32)}
    settings = AnchorEASESettings.model_validate(
        {"embedding_size": 4, "direction": direction, "spectral_power": power, "recency_tau": 2.0}
    )
    model = model_of(LISTS, settings, features)
    with torch.no_grad():
        model.solution = model.solve(Work())
        factors = model.factors()
        whole = torch.from_numpy(model._inputs.histories.matrix(settings.recency).toarray()) @ factors.fold_in
    assert set(factors.item_parts) == {"id", "text", "anchor"}
    torch.testing.assert_close(factors.user_embeddings, whole, rtol=1e-4, atol=1e-5)
    items = factors.item_embeddings
    assert torch.isfinite(items).all()
    torch.testing.assert_close(sum(factors.item_parts.values()), items)


def test_where_times_are_unknown_the_order_of_a_history_counts_nothing():
    users = np.repeat(np.arange(len(LISTS)), [len(items) for items in LISTS])
    items = np.array([item for one in LISTS for item in one])
    settings = AnchorEASESettings(embedding_size=4)
    solutions = []
    for order in (np.arange(len(items)), np.arange(len(items))[::-1]):
        given = {"features": {}, "settings": settings, "device": CPU}
        model = build_model(
            settings, make_inputs(users[order], items[order], len(LISTS), 8, **given), batch_size=1, seed=0
        )
        with torch.no_grad():
            model.solution = model.solve(Work())
            factors = model.factors()
        assert factors.recency is None
        solutions.append(factors.user_embeddings @ factors.item_embeddings.T)
    torch.testing.assert_close(*solutions, atol=1e-4, rtol=1e-4)


def test_of_a_history_too_long_to_count_only_near_followers_count(monkeypatch):
    monkeypatch.setattr("trainer.histories.MOST_PAIRS", 10)
    items = [list(range(8))]
    found = histories(items, 8).followers(60, np.ones(1), len(items[0])).toarray()
    np.testing.assert_allclose(found, naive_followers(items, 8, 2, np.ones(1)))


@given(nps.arrays(np.float32, (4, 3), elements=st.floats(-2, 2, width=16)))
def test_sums_of_entrywise_products_by_row(dense):
    matrix = sp.random(4, 3, density=0.5, format="csr", random_state=1, dtype=np.float32)
    found = SparseMatrix(matrix, CPU).row_products(torch.from_numpy(dense)).numpy()
    np.testing.assert_allclose(found, (matrix.toarray() * dense).sum(1), atol=1e-5)
