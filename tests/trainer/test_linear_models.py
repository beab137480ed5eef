"""The models that are computed at once, each against a naive version on small data."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from worlds import topics_dataset

from index.bundle import open_bundle
from index.errors import InputError
from index.recency import Recency
from index.registry import Registry
from trainer.config import load_config
from trainer.data import NO_TIME, Interactions
from trainer.export import export_run
from trainer.fit import fit, make_model
from trainer.histories import Histories
from trainer.inputs import make_inputs
from trainer.model_settings import (
    EASESettings,
    ELSASettings,
    IALSSettings,
    ItemKNNCBFSettings,
    ItemKNNSettings,
    PopularitySettings,
)
from trainer.models import Work, build_model
from trainer.models.elsa import UserItems, autoencoder_loss
from trainer.run_folder import RunFolder

CPU = torch.device("cpu")
N_USERS, N_ITEMS = 30, 20
ITEM_ITEM = [EASESettings(ridge=2.0), ItemKNNSettings(k=5, shrink=1.0), ItemKNNCBFSettings(k=4, image_share=0.3)]


def world(settings, **options):
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((N_USERS, N_ITEMS)) < 0.3)
    features = {"text": rng.normal(size=(N_ITEMS, 6)), "image": rng.normal(size=(N_ITEMS, 9))}
    wanted = {name: table.astype(np.float32) for name, table in features.items() if getattr(settings, "needs", 0)}
    return make_inputs(
        users,
        items,
        N_USERS,
        N_ITEMS,
        features=options.get("features", wanted),
        settings=settings,
        device=CPU,
        timestamps=rng.permutation(len(users)).astype(np.int64) * 86_400,
    )


def fresh(settings, seed=0):
    inputs = world(settings)
    return build_model(settings, inputs, batch_size=8, seed=seed), inputs


def solved(settings, seed=0):
    model, inputs = fresh(settings, seed)
    model.solution = model.solve(Work())
    return model, inputs


def dense(inputs) -> np.ndarray:
    return inputs.histories.binary().toarray().astype(np.float64)


def scores(model) -> np.ndarray:
    return model.scorer()(torch.arange(N_USERS)).numpy()


def per_root(weights: np.ndarray) -> np.ndarray:
    """A user's weights over the root of their sum, as the bundle has them."""
    return weights / np.sqrt(np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))


def test_ease_is_the_least_squares_solution_of_zero_diagonal():
    model, inputs = solved(EASESettings(ridge=2.0))
    x = dense(inputs)
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):  # a regression of its own for each item, on the others
        others = np.delete(np.arange(N_ITEMS), j)
        gram = x[:, others].T @ x[:, others] + 2.0 * np.eye(N_ITEMS - 1)
        expected[others, j] = np.linalg.solve(gram, x[:, others].T @ x[:, j])
    np.testing.assert_allclose(scores(model), per_root(x) @ expected, atol=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_itemknn_adds_up_the_similarities_of_an_items_nearest(monkeypatch, normalise):
    monkeypatch.setattr("trainer.models.itemknn._PAIRS_AT_ONCE", 7 * N_ITEMS)  # three blocks
    settings = ItemKNNSettings(k=3, shrink=1.5, normalise=normalise)
    model, inputs = solved(settings)
    x = dense(inputs)
    common, lengths = x.T @ x, np.linalg.norm(x, axis=0)
    similar = common / (np.outer(lengths, lengths) + 1.5) if normalise else common
    np.fill_diagonal(similar, 0)
    expected = np.zeros_like(similar)
    for j in range(N_ITEMS):
        near = np.lexsort((np.arange(N_ITEMS), -similar[j].astype(np.float32)))[:3]
        expected[near, j] = similar[j, near]
    np.testing.assert_allclose(scores(model), per_root(x) @ expected, atol=1e-5)


def test_itemknn_counts_less_what_users_with_many_items_have():
    model, inputs = solved(ItemKNNSettings(k=N_ITEMS, shrink=0.0, weighting="tf-idf"))
    x = dense(inputs)
    weighted = x * (np.log(N_ITEMS) - np.log1p(x.sum(axis=1)))[:, None]
    unit = weighted / np.linalg.norm(weighted, axis=0)
    similar = unit.T @ unit
    np.fill_diagonal(similar, 0)
    np.testing.assert_allclose(scores(model), per_root(x) @ similar, atol=1e-5)


def test_itemknn_cbf_divides_the_cosine_of_features_among_the_modalities():
    model, inputs = solved(ItemKNNCBFSettings(k=4, image_share=0.3))
    unit = {}
    for name, share in (("text", 0.7), ("image", 0.3)):
        centred = inputs.features[name].double().numpy()
        centred = centred - centred.mean(axis=0)
        unit[name] = math.sqrt(share) * centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = sum(rows @ rows.T for rows in unit.values())
    np.fill_diagonal(cosines, -np.inf)
    near = np.argsort(-cosines, axis=1)[:, :4]
    found = model.item_item()
    assert found.keys() == unit.keys()
    for name, rows in unit.items():
        expected = np.zeros((N_ITEMS, N_ITEMS))
        for j in range(N_ITEMS):
            kept = near[j][cosines[j, near[j]] > 0]
            expected[kept, j] = (rows @ rows.T)[j, kept]
        np.testing.assert_allclose(found[name].toarray(), expected, atol=1e-6)


@pytest.mark.parametrize("tau", [math.inf, 3.0])
@pytest.mark.parametrize("settings", ITEM_ITEM, ids=lambda settings: settings.name)
def test_the_served_form_loses_nothing_at_full_rank_and_something_below(settings, tau):
    whole, inputs = solved(settings.model_copy(update={"recency_tau": tau, "embedding_size": N_ITEMS}))
    users, items = whole.embeddings()
    np.testing.assert_allclose(users @ items.T, scores(whole), atol=1e-4)
    recency = None if math.isinf(tau) else Recency(tau=tau)
    np.testing.assert_allclose(users, inputs.histories.matrix(recency) @ whole.factors().fold_in.numpy(), atol=1e-5)
    part, _ = solved(settings.model_copy(update={"recency_tau": tau, "embedding_size": 4}))
    users, items = part.embeddings()
    left, values, right = np.linalg.svd(scores(part))
    np.testing.assert_allclose(users @ items.T, (left[:, :4] * values[:4]) @ right[:4], atol=2e-3)


def test_settings_of_the_served_form_alone_do_not_compute_the_matrix_again(monkeypatch):
    work = Work()
    for tau, ridge in ((math.inf, 2.0), (3.0, 2.0), (3.0, 4.0)):
        model, _ = fresh(EASESettings(ridge=ridge, recency_tau=tau, embedding_size=4))
        if tau == 3.0 and ridge == 2.0:
            monkeypatch.setattr(model, "item_item", None)
        model.solve(work)


def test_more_items_than_ease_can_hold_are_refused(tmp_path, monkeypatch):
    dataset = topics_dataset(tmp_path / "data")
    monkeypatch.setattr(EASESettings, "most_items", 47)
    with pytest.raises(InputError, match=r"ease holds all pairs of items in memory, of at most 47 items; .* has 48"):
        fit(dataset, load_config("ease"), RunFolder(tmp_path / "run"))


def test_what_the_served_form_lost_is_in_the_result_and_the_bundle_and_printed(tmp_path, capsys):
    dataset = topics_dataset(tmp_path / "data")
    config = load_config("itemknn", ("model.embedding_size=1", "evaluation.bootstrap=0"))
    result = fit(dataset, config, RunFolder(tmp_path / "run"))
    assert result.served["valid"]["recall@20"] < result.valid["recall@20"]
    path = export_run(RunFolder(tmp_path / "run"), Registry(tmp_path / "bundles"), created_at=datetime.now(UTC))
    metrics = open_bundle(path).manifest.metrics
    assert (metrics["valid"], metrics["test"]) == (result.served["valid"], result.served["test"])
    assert (metrics["valid at full rank"], metrics["test at full rank"]["ndcg@5"]) == (
        result.valid,
        result.test["ndcg@5"],
    )
    figures = (result.served["valid"]["recall@20"], result.valid["recall@20"])
    assert "served form, valid: recall@20 {:.4f} for {:.4f} at full rank".format(*figures) in capsys.readouterr().err


def test_ials_solves_users_given_items_and_items_given_users():
    model, inputs = solved(IALSSettings(embedding_size=3, alpha=4.0, ridge=0.5, iterations=200))
    x = dense(inputs)
    users, items = (model.solved(name).double().numpy() for name in ("users", "items"))
    for one, other, seen in ((users, items, x), (items, users, x.T)):
        for row, has in zip(one, seen, strict=True):
            confidence = 1 + (4.0 - 1) * has
            gram = other.T @ (confidence[:, None] * other) + 0.5 * np.eye(3)
            np.testing.assert_allclose(row, np.linalg.solve(gram, other.T @ (4.0 * has)), atol=2e-3)


def test_elsas_loss_is_that_of_rows_of_all_items():
    generator = torch.Generator().manual_seed(0)
    a = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator)).requires_grad_()
    x = torch.tensor([[1, 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0.0]])
    found = autoencoder_loss(a, UserItems(torch.tensor([0, 2, 5, 1]), torch.tensor([0, 3]), torch.tensor([3.0, 1.0])))
    normalize = torch.nn.functional.normalize
    expected = (normalize(x @ (a @ a.T - torch.eye(7))) - normalize(x)).square().sum(dim=1).mean()
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(loss, a)[0] for loss in (found, expected))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_elsa_is_served_as_it_is_but_for_the_items_that_a_user_has():
    model, inputs = solved(ELSASettings(embedding_size=4, epochs=3, recency_tau=5.0))
    a, x = model.solved("items"), inputs.histories.matrix(Recency(tau=5.0)).toarray()
    torch.testing.assert_close(a.norm(dim=1), torch.ones(N_ITEMS))
    whole = x @ (a @ a.T - torch.eye(N_ITEMS)).numpy()
    unseen = dense(inputs) == 0
    np.testing.assert_allclose(scores(model)[unseen], whole[unseen], atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [ELSASettings(embedding_size=4, epochs=9, batch_size=8), IALSSettings(embedding_size=4, iterations=9)],
    ids=lambda settings: settings.name,
)
def test_an_interrupted_computation_ends_as_an_uninterrupted_one(settings):
    saved = []
    model, _ = fresh(settings, seed=3)
    whole = model.solve(Work(save=lambda steps: saved.append({name: step.clone() for name, step in steps.items()})))
    assert len(saved) == 1  # after the fifth of nine
    resumed = fresh(settings, seed=3)[0].solve(Work(load=lambda: saved[0]))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_interaction_of_one_half_life_ago_counts_half():
    settings = PopularitySettings(half_life_days=2.0)
    inputs = make_inputs(
        np.array([0, 1, 2, 0]), np.array([0, 0, 1, 2]), 3, 4, features={}, settings=settings, device=CPU,
        timestamps=np.array([0, 2, 4, 4]) * 86_400,
    )  # fmt: skip
    model = build_model(settings, inputs, batch_size=8, seed=0)
    assert model.solve(Work())["items"][:, 0].tolist() == [0.25 + 0.5, 1.0, 1.0, 0.0]


def test_without_times_every_interaction_counts_alike():
    rows, items = np.array([0, 0, 1]), np.array([0, 1, 1])
    undated = Interactions(rows, items, np.full(3, NO_TIME), np.zeros(3, np.int8))
    assert Histories.of(undated, 2, 3).decayed_counts(1.0).tolist() == [1.0, 2.0, 0.0]


def test_models_of_items_run_on_a_catalogue_that_no_user_shares(tmp_path):
    config = load_config("itemknn", ("model.embedding_size=4",))
    dataset = topics_dataset(tmp_path / "data", n_users=4, n_items=48, per_user=5)  # a topic of its own each
    model = make_model(dataset, config)
    with torch.no_grad():
        solution = model.solve(Work())
    assert all(torch.isfinite(tensor).all() for tensor in solution.values())
