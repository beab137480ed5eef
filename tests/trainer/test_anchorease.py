"""The laws of AnchorEASE on small random data; its numbers are in test_golden.py, the order's in test_direction.py."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from index.invariants import fold_in_error, part_sum_error
from trainer.inputs import make_inputs, modality_features
from trainer.model_settings import AnchorEASESettings
from trainer.models import Work, build_model
from trainer.models.spectral import Iteration

N_USERS, N_ITEMS = 14, 10
COLD = N_ITEMS - 1
"""An item that nobody has."""
WIDTHS = {"text": 5, "image": 7, "multimodal": 4}
WEIGHTS = st.sampled_from([1.0, 10.0, 1000.0])
WORLDS = st.integers(0, 10_000)
NO_ORDER = {"order_share": 0.0, "direction": 0.0, "recency_tau": "inf"}
ITERATED = {"exact_up_to": 1, "rank": N_ITEMS}
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def solved(seed: int, *, present=("text", "image"), times=None, iteration=None, work=None, **changes):
    """A model of random interactions, computed; `present` are the modalities that the data have."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((N_USERS, COLD)) < 0.4)
    order = rng.permutation(len(users))
    features = {m: rng.standard_normal((N_ITEMS, width)).astype(np.float32) for m, width in WIDTHS.items()}
    small = {"embedding_size": 6, "k": 3, "window": 4, "stride": 2}
    chosen = AnchorEASESettings.model_validate(small | changes)
    inputs = make_inputs(
        users,
        items,
        N_USERS,
        N_ITEMS,
        features=modality_features({m: features[m] for m in present}, chosen),
        settings=chosen,
        device=torch.device("cpu"),
        timestamps=order if times is None else times(order),
    )
    model = build_model(chosen, inputs, batch_size=1, seed=0)
    model.iteration = iteration or model.iteration
    with torch.no_grad():
        model.solution = model.solve(work or Work())
    return model


def scores(model) -> torch.Tensor:
    users, items = model.embeddings()
    return users @ items.T


@given(seed=WORLDS, tau=st.sampled_from([2.0, "inf"]), ridge=st.sampled_from([2.0, "inf"]))
@settings(max_examples=10)
def test_parts_sum_to_the_items_and_weighted_past_items_to_the_users(seed, tau, ridge):
    model = solved(seed, recency_tau=tau, ridge=ridge)
    factors, histories = model.factors(), model._inputs.histories
    torch.testing.assert_close(sum(factors.item_parts.values()), model.embeddings()[1])
    assert factors.user_own is None
    assert factors.fold_in_exact
    for user, (start, end) in enumerate(zip(histories.offsets, histories.offsets[1:], strict=False)):
        past = torch.from_numpy(histories.items[start:end]).long()
        recency = factors.recency
        weights = torch.from_numpy(recency.weights(len(past))) if recency else torch.ones(len(past))
        folded = weights @ factors.fold_in[past] / max(float(weights.sum()), 1e-9) ** 0.5
        torch.testing.assert_close(factors.user_embeddings[user], folded, **CLOSE)


SUBSETS = [subset for n in range(4) for subset in combinations(WIDTHS, n)]


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_each_modality_taken_in_is_a_part_and_with_any_of_them_there_is_an_anchor(subset):
    factors = solved(1, present=WIDTHS, modalities=subset).factors()
    assert factors.item_parts.keys() == {"id", *subset} | ({"anchor"} if subset else set())
    assert torch.isfinite(factors.item_embeddings).all()
    assert (factors.anchor is not None) is bool(subset)


def test_fused_features_are_taken_where_they_are_all_there_is():
    assert solved(1, present=("multimodal",)).factors().item_parts.keys() == {"id", "multimodal", "anchor"}


def test_without_kappa_nothing_is_moved_towards_an_anchor():
    factors = solved(1, kappa=0.0).factors()
    assert factors.item_parts.keys() == {"id", "text", "image"}
    assert factors.anchor is None


def test_the_anchor_of_an_item_without_interactions_is_all_of_it():
    model = solved(2, rho=1.5)
    factors = model.factors()
    for name, part in factors.item_parts.items():
        assert bool(part[COLD].any()) is (name == "anchor")
    anchor = factors.anchor
    predicted = anchor.mean.clone()
    for modality, weights in anchor.weights.items():
        centred = model._inputs.features[modality][COLD] - anchor.centers[modality]
        predicted += centred / centred.norm() @ weights
    torch.testing.assert_close(factors.item_embeddings[COLD], 1.5 * predicted, **CLOSE)


@given(WORLDS)
@settings(max_examples=5)
def test_with_an_infinite_penalty_similar_features_count_nothing_and_smoothing_does(seed):
    endless = {"ridge": "inf", "kappa": 0.0}
    one, other = (solved(seed, feature_weights={"text": weight, "image": weight}, **endless) for weight in (0.0, 5.0))
    torch.testing.assert_close(scores(one), scores(other))
    unsmoothed = solved(seed, smoothing={"text": 0, "image": 0}, **endless)
    assert unsmoothed.factors().item_parts.keys() == {"id"}


@given(WORLDS)
@settings(max_examples=5)
def test_where_the_order_has_no_share_it_is_ignored(seed):
    ordered = solved(seed, **NO_ORDER)
    reversed_ = solved(seed, times=lambda order: -order, **NO_ORDER)
    torch.testing.assert_close(scores(ordered), scores(reversed_), **CLOSE)
    assert not torch.allclose(scores(solved(seed)), scores(solved(seed, times=lambda order: -order)), **CLOSE)


@given(seed=WORLDS, direction=st.sampled_from([0.0, 0.5]))
@settings(max_examples=8)
def test_without_any_matrix_of_all_pairs_the_scores_are_those_of_the_inverse(seed, direction):
    exact, free = (solved(seed, direction=direction, **form) for form in ({}, ITERATED))
    largest = float(scores(exact).abs().max())
    torch.testing.assert_close(scores(free), scores(exact), atol=1e-3 * largest, rtol=0)
    one, other = exact.factors(), free.factors()
    for name, part in one.item_parts.items():
        shares = other.user_embeddings @ other.item_parts[name].T
        torch.testing.assert_close(shares, one.user_embeddings @ part.T, atol=1e-3 * largest, rtol=0)


def test_few_eigenpairs_lose_little_since_the_rest_is_a_multiple_of_the_similarities():
    exact, few = (scores(solved(3, kappa=0.0, direction=0.0, **form)) for form in ({}, {"exact_up_to": 1, "rank": 2}))
    assert (few - exact).norm() < 0.2 * exact.norm()


def test_the_same_seed_gives_the_same_numbers():
    one, other = (solved(4, iteration=Iteration(direct_up_to=0), **ITERATED).solution for _ in range(2))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("killed_at", [1, 3, 6])
def test_killed_between_two_rounds_it_goes_on_and_ends_in_the_same_numbers(killed_at):
    iteration = Iteration(direct_up_to=0, saved_from=0, tolerance=1e-9, oversampling=1)
    how = {"iteration": iteration, "exact_up_to": 1, "rank": 3, "embedding_size": 4}
    whole, saved = solved(5, **how), []

    def save(steps):
        saved.append(steps)
        if len(saved) == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solved(5, work=Work(save=save), **how)
    resumed = solved(5, work=Work(load=lambda: saved[-1]), **how)
    assert all(torch.equal(whole.solution[name], resumed.solution[name]) for name in whole.solution)


def test_leading_columns_are_the_model_of_a_smaller_embedding_size():
    truncated, small = solved(6).truncated(3), solved(6, embedding_size=3)
    assert truncated.embeddings()[0].shape == (N_USERS, 3)
    torch.testing.assert_close(scores(truncated), scores(small), **CLOSE)
    assert truncated.factors().anchor.mean.shape == (3,)


def test_settings_of_serving_alone_are_not_computed_for_again():
    work = Work()
    first = solved(7, work=work, kappa=1.0).solution
    assert solved(7, work=work, kappa=5.0, rho=2.0).solution is first
    assert solved(7, work=work, ridge=3.0).solution is not first


def test_features_equal_to_the_mean_say_nothing():
    model = solved(8)
    rows = model._inputs.features["text"].clone()
    rows[2] = rows[3:].mean(dim=0)
    rows[[0, 1]] = rows[3:].mean(dim=0)
    object.__setattr__(model._inputs, "features", {"text": rows})
    del model.centers, model.content
    text = model.content["text"]
    assert not text[:3].any()
    assert text.known.tolist() == [False] * 3 + [True] * (N_ITEMS - 3)
    torch.testing.assert_close(text[3:].norm(dim=1), torch.ones(N_ITEMS - 3))


@given(seed=WORLDS, weight=WEIGHTS, kappa=st.sampled_from([0.0, 2.0]))
@settings(max_examples=8)
def test_every_score_and_its_share_by_part_stays(seed, weight, kappa):
    plain, moved = (solved(seed, content_weight=each, kappa=kappa).factors() for each in (0.0, weight))
    largest = float((plain.user_embeddings @ plain.item_embeddings.T).abs().max())
    for name, part in plain.item_parts.items():
        shares = moved.user_embeddings @ moved.item_parts[name].T
        torch.testing.assert_close(shares, plain.user_embeddings @ part.T, atol=1e-5 * largest, rtol=0)


@given(seed=WORLDS, weight=WEIGHTS)
@settings(max_examples=8)
def test_both_identities_of_a_bundle_hold_as_exactly(seed, weight):
    model = solved(seed, content_weight=weight, direction=0.0, recency_tau="inf")
    factors, histories = model.factors(), model._inputs.histories
    parts = {name: part.numpy() for name, part in factors.item_parts.items()}
    users, items, fold_in = (t.numpy() for t in (factors.user_embeddings, factors.item_embeddings, factors.fold_in))
    assert part_sum_error(items, parts) <= 1e-5
    assert fold_in_error(users, None, fold_in, histories.offsets, histories.items) <= 1e-5


@pytest.mark.parametrize("modalities", [(), ("text",)], ids=["none", "text"])
def test_without_content_the_weight_changes_nothing(modalities):
    plain, moved = (solved(1, present=WIDTHS, modalities=modalities, content_weight=w).factors() for w in (0.0, 10.0))
    assert torch.equal(plain.item_embeddings, moved.item_embeddings) is (not modalities)


def test_a_smaller_embedding_size_has_its_own_metric():
    plain, moved = (solved(6, content_weight=weight).truncated(3) for weight in (0.0, 10.0))
    torch.testing.assert_close(scores(moved), scores(plain), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"kappa": 0.0}, {"content_weight": 0.0}, {"recency_tau": 3.0}], ids=str)
def test_users_asked_for_score_as_their_embeddings_and_parts_alone_are_those_of_the_factors(changes):
    model = solved(3, **changes)
    before = {name: tensor.clone() for name, tensor in model.solution.items()}
    rows = torch.tensor([5, 0, 9])
    torch.testing.assert_close(model.scorer()(rows), scores(model)[rows], **CLOSE)
    alone, whole = model.item_parts(), model.factors().item_parts
    assert alone.keys() == whole.keys()
    assert all(torch.equal(alone[name], whole[name]) for name in whole)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.solution.items())
