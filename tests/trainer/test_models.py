"""The contract that every model keeps, and what is AnchorRec's own."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from worlds import topics_dataset

from index.errors import InputError
from trainer.graph import item_graph
from trainer.inputs import build_inputs, make_inputs, modality_features
from trainer.model_settings import (
    AlignRecSettings,
    AnchorRecSettings,
    BM3Settings,
    BPRSettings,
    DAMRSSettings,
    EASESettings,
    ELSASettings,
    FREEDOMSettings,
    FusionWeights,
    IALSSettings,
    ItemKNNCBFSettings,
    ItemKNNSettings,
    LATTICESettings,
    LGMRecSettings,
    LightGCNSettings,
    ModalityWeights,
    PopularitySettings,
    SASRecSettings,
    SMORESettings,
    VBPRSettings,
)
from trainer.models import FittedModel, Work, build_model
from trainer.models.damrs import discrimination, divergence
from trainer.models.noise import Noise
from trainer.nearest import nearest_items

CPU = torch.device("cpu")
MODELS = {
    "bpr": BPRSettings(embedding_size=8),
    "lightgcn": LightGCNSettings(embedding_size=8, n_layers=3),
    "anchorrec": AnchorRecSettings(embedding_size=8),
    "anchorrec as released": AnchorRecSettings.model_validate({"variant": "official", "embedding_size": 8}),
    "anchorrec with two item layers": AnchorRecSettings(embedding_size=8, n_item_layers=2, n_layers=1),
    "anchorrec with weights": AnchorRecSettings(
        embedding_size=8, fusion=FusionWeights(id=0.5, image=2.0, text=0.0), correction_weight=0.7
    ),
    "anchorrec of texts alone": AnchorRecSettings(embedding_size=8, modalities=("text",)),
    "anchorrec without an anchor": AnchorRecSettings(embedding_size=8, modalities=("text", "image")),
    "anchorrec without modalities": AnchorRecSettings(embedding_size=8, modalities=()),
    "vbpr": VBPRSettings(embedding_size=8),
    "vbpr of texts alone": VBPRSettings(embedding_size=8, modalities=("text",)),
    "lattice": LATTICESettings(embedding_size=8),
    "lattice with two item layers": LATTICESettings(embedding_size=8, n_item_layers=2, n_layers=1),
    "lattice of images alone": LATTICESettings(embedding_size=8, modalities=("image",)),
    "freedom": FREEDOMSettings(embedding_size=8),
    "freedom with two item layers": FREEDOMSettings(embedding_size=8, n_item_layers=2, edge_dropout=0.0),
    "freedom of texts alone": FREEDOMSettings(embedding_size=8, modalities=("text",)),
    "lgmrec": LGMRecSettings(embedding_size=8),
    "lgmrec with two hypergraph layers": LGMRecSettings(embedding_size=8, n_hyper_layers=2, keep_rate=1.0),
    "smore": SMORESettings(embedding_size=8),
    "smore with an odd size": SMORESettings(embedding_size=7, n_item_layers=2, dropout=0.0),
    "bm3": BM3Settings(embedding_size=8),
    "bm3 of images alone": BM3Settings(embedding_size=8, modalities=("image",), n_layers=2),
    "damrs": DAMRSSettings(embedding_size=8),
    "alignrec": AlignRecSettings(embedding_size=8),
    "sasrec": SASRecSettings(embedding_size=8),
    "sasrec with windows and negatives": SASRecSettings(embedding_size=8, max_length=3, n_heads=2, n_negatives=5),
}
TRAINABLE = list(MODELS)
MODELS |= {
    "popularity": PopularitySettings(),
    "popularity that decays": PopularitySettings(half_life_days=30.0),
    "ease": EASESettings(embedding_size=8),
    "itemknn": ItemKNNSettings(embedding_size=8),
    "itemknn-cbf": ItemKNNCBFSettings(embedding_size=8),
    "itemknn-cbf of texts alone": ItemKNNCBFSettings(embedding_size=8, modalities=("text",)),
    "ials": IALSSettings(embedding_size=8),
    "elsa": ELSASettings(embedding_size=8, epochs=2),
}
SEEDED = [*TRAINABLE, "ials", "elsa"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


def ready(settings, inputs, seed=0):
    """A fresh model; one that is computed at once is computed."""
    model = build_model(settings, inputs, batch_size=64, seed=seed)
    if isinstance(model, FittedModel):
        model.solution = model.solve(Work())
    return model


@pytest.fixture
def make(dataset):
    def build(name_or_settings, seed=0):
        settings = MODELS.get(name_or_settings, name_or_settings)
        return ready(settings, build_inputs(dataset, settings, CPU), seed=seed)

    return build


def a_batch(dataset) -> tuple[torch.Tensor, ...]:
    train = dataset.split("train")
    rng = np.random.default_rng(0)
    negatives = rng.integers(0, dataset.n_items, 64)
    rows = (train.user_rows[:64], train.item_rows[:64], negatives)
    return tuple(torch.from_numpy(np.asarray(r, dtype=np.int64)) for r in rows)


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("name", MODELS)
def test_item_parts_sum_to_the_item_embedding(make, name):
    model = make(name).eval()
    with torch.no_grad():
        factors, (users, items) = model.factors(), model.embeddings()
    torch.testing.assert_close(sum(factors.item_parts.values()), items, atol=1e-6, rtol=0)
    torch.testing.assert_close(factors.user_embeddings, users)


@pytest.mark.parametrize("name", MODELS)
def test_fold_in_gives_back_every_user_embedding(make, dataset, name):
    train = dataset.split("train")
    with torch.no_grad():
        factors = make(name).eval().factors()
    for user in range(dataset.n_users):
        items = torch.from_numpy(train.item_rows[train.user_rows == user].astype(np.int64))
        own = 0 if factors.user_own is None else factors.user_own[user]
        folded = own + factors.fold_in[items].sum(dim=0) / max(len(items), 1) ** 0.5
        torch.testing.assert_close(folded, factors.user_embeddings[user], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_loss_term_is_finite_and_every_parameter_in_use_learns(make, dataset, name):
    model = make(name)
    terms = model.loss_terms(*a_batch(dataset))
    total(terms).backward()
    assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.item_embedding.grad.abs().sum() > 0


@pytest.mark.parametrize("name", SEEDED)
def test_the_same_seed_gives_the_same_model_and_another_seed_another(make, name):
    with torch.no_grad():
        one, same, other = (make(name, seed).eval().embeddings()[1] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# Where a stop-gradient stands, the derivative is not the function's by intention: none stands in these.
@pytest.mark.parametrize(
    "settings",
    [
        BPRSettings(embedding_size=8),
        LightGCNSettings(embedding_size=8),
        AnchorRecSettings(embedding_size=8, detach_anchor="none"),
        AnchorRecSettings(embedding_size=8, detach_anchor="none", amp_form="frobenius", smoothness_weight=0.1),
        VBPRSettings(embedding_size=8),
        LATTICESettings(embedding_size=8),
        FREEDOMSettings(embedding_size=8),
        LGMRecSettings(embedding_size=8),
        SMORESettings(embedding_size=8),
        AlignRecSettings(embedding_size=8),
        SASRecSettings(embedding_size=8, max_length=4, n_heads=2),
    ],
)
def test_the_loss_has_the_gradient_that_finite_differences_give(make, dataset, settings):
    model, batch = make(settings).eval(), a_batch(dataset)  # no noise between two looks
    model.begin_epoch()
    loss = total(model.loss_terms(*batch))
    (gradient,) = torch.autograd.grad(loss, model.item_embedding)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))
    step = 2e-3
    with torch.no_grad():
        model.item_embedding += step * direction
        above = total(model.loss_terms(*batch))
        model.item_embedding -= 2 * step * direction
        below = total(model.loss_terms(*batch))
    slope = (above - below) / (2 * step)
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_whether_folding_in_is_exact_is_said_and_true(make, dataset, name):
    """Where it is, a user's own term knows nothing of the user's interactions: it is the same on other ones."""
    settings, train = MODELS[name], dataset.split("train")
    others = make_inputs(
        train.user_rows,
        np.roll(train.item_rows, 1),
        dataset.n_users,
        dataset.n_items,
        features=modality_features(dataset.features, settings),
        settings=settings,
        device=CPU,
    )
    with torch.no_grad():
        here, there = (model.eval().factors() for model in (make(name), ready(settings, others)))
    assert here.fold_in_exact is not name.startswith(("bpr", "vbpr", "lattice", "lgmrec", "smore", "ials", "sasrec"))
    if here.user_own is not None:
        assert torch.equal(here.user_own, there.user_own) is here.fold_in_exact


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_says_is_the_same_however_often_it_is_asked(make, name):
    model = make(name).eval()
    with torch.no_grad():
        first, second = model.embeddings(), model.embeddings()
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_says_the_same_when_it_is_loaded(make, name):
    model, other = make(name, seed=1).eval(), make(name, seed=2).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        pairs = zip(model.embeddings(), other.embeddings(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("missing", ["text", "image", "multimodal"])
@pytest.mark.parametrize(
    "settings",
    [VBPRSettings(), LATTICESettings(), FREEDOMSettings(), BM3Settings(), AnchorRecSettings(), AlignRecSettings()],
    ids=lambda settings: settings.name,
)
def test_a_model_does_without_any_one_modality(tmp_path, settings, missing):
    left = tuple(m for m in ("text", "image", "multimodal") if m != missing)
    dataset = topics_dataset(tmp_path / "topics", modalities=left)
    settings = settings.model_copy(update={"embedding_size": 8})
    model = build_model(settings, build_inputs(dataset, settings, CPU), batch_size=64, seed=0)
    terms = model.loss_terms(*a_batch(dataset))
    total(terms).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert all(torch.isfinite(rows).all() for rows in model.eval().embeddings())


@pytest.mark.parametrize("settings", [SMORESettings(), LGMRecSettings(), DAMRSSettings()], ids=lambda s: s.name)
def test_a_model_of_two_modalities_says_which_one_it_lacks(tmp_path, settings):
    dataset = topics_dataset(tmp_path / "topics", modalities=("text", "multimodal"))
    with pytest.raises(InputError, match=f"{settings.name} needs all of the features text, image; the data have"):
        build_inputs(dataset, settings, CPU)


def test_a_model_of_any_modality_needs_at_least_one(tmp_path):
    dataset = topics_dataset(tmp_path / "topics", modalities=())
    with pytest.raises(InputError, match="freedom needs 1 or more of the features text, image; the data have none"):
        build_inputs(dataset, FREEDOMSettings(), CPU)


def test_freedom_keeps_its_share_of_the_interactions_and_draws_others_each_epoch(make, dataset):
    model = make(FREEDOMSettings(embedding_size=8, edge_dropout=0.75))
    n_pairs = model._inputs.pairs.shape[1]
    drawn = []
    for epoch in range(2):
        torch.manual_seed(epoch)
        model.begin_epoch()
        drawn.append(model._thinned._forward.to_dense() > 0)
    assert [int(kept.sum()) for kept in drawn] == [int(n_pairs * 0.25)] * 2
    assert not torch.equal(*drawn)


def test_lattice_learns_its_graph_in_the_first_batch_of_an_epoch_alone(make, dataset):
    model, batch = make("lattice"), a_batch(dataset)
    model.begin_epoch()
    for moves in (True, False):
        model.zero_grad()
        total(model.loss_terms(*batch)).backward()
        assert (model.modal_weight.grad is not None) is moves


def test_lattice_builds_the_graph_that_a_dense_computation_gives(make, dataset):
    model = make(LATTICESettings(embedding_size=8, k=5, given_share=0.6))
    with torch.no_grad():
        found = model._content(model._learned_graph())
        shares = model.modal_weight.softmax(dim=0)
        learned = torch.zeros(dataset.n_items, dataset.n_items)
        given = torch.zeros_like(learned)
        for share, m in zip(shares, model.modalities, strict=True):
            rows = torch.nn.functional.normalize(model.projections[m](model.features[m]))
            cosines = rows @ rows.T
            kept = torch.zeros_like(cosines).scatter(1, cosines.topk(5).indices, 1.0)
            learned += share * kept * cosines
            given += share * model._inputs.item_graphs[m]._forward.to_dense()
        scale = learned.sum(dim=1).rsqrt()
        dense = 0.4 * scale[:, None] * learned * scale + 0.6 * given
    torch.testing.assert_close(found, dense @ model.item_embedding.detach(), atol=1e-6, rtol=1e-4)


def test_lgmrec_is_noisy_while_it_trains_and_only_then(make, dataset):
    model, batch = make("lgmrec"), a_batch(dataset)
    one, two = (model.train().loss_terms(*batch)["bpr"].item() for _ in range(2))
    assert one != two
    one, two = (model.eval().loss_terms(*batch)["bpr"].item() for _ in range(2))
    assert one == two


@pytest.mark.parametrize("n_items", [30, 700])
def test_damrs_is_given_the_neighbours_that_a_dense_computation_finds(n_items):
    torch.manual_seed(0)
    names = ("text", "image", "behaviour")
    units = {name: normalize(torch.randn(n_items, 6)).requires_grad_() for name in names}
    rows = torch.tensor([0, 3, 3, 29])
    chances = {name: (unit[rows] @ unit.T).softmax(dim=1) for name, unit in units.items()}
    expected = 0.0
    for name, unit in units.items():
        weights = (unit[rows] @ unit.T / 0.2).exp()
        for i in range(len(rows)):
            near = (sum(chances.values())[i] + chances[name][i]).argsort(descending=True)[:10]
            rest = chances[name][i].detach().clone()
            rest[near] = 0
            nearer = rest.argsort(descending=True)[:10]
            all_of, near_of, nearer_of = weights[i].sum(), weights[i][near].sum(), weights[i][nearer].sum()
            expected = expected - torch.log(near_of / all_of) - torch.log(nearer_of / (all_of - near_of))
    found = discrimination(units, rows)
    torch.testing.assert_close(found, expected / len(rows), rtol=1e-4, atol=1e-5)
    gradients = (torch.autograd.grad(loss, list(units.values())) for loss in (found, expected / len(rows)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_divergence_is_that_of_two_bernoulli_distributions_both_ways():
    users, one, other = torch.randn(5, 4), torch.randn(7, 4), torch.randn(7, 4)
    p, q = (torch.distributions.Bernoulli(logits=users @ rows.T) for rows in (one, other))
    both = torch.distributions.kl_divergence(p, q) + torch.distributions.kl_divergence(q, p)
    torch.testing.assert_close(divergence(users, one, other), both.mean(), rtol=1e-4, atol=1e-6)


def test_a_sample_follows_the_weights_and_repeats_nothing():
    torch.manual_seed(0)
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0])
    first = torch.zeros(4)
    for _ in range(4_000):
        drawn = Noise().sample(weights.log(), 1)
        first[drawn] += 1
    torch.testing.assert_close(first / 4_000, weights / 15, atol=0.03, rtol=0)
    assert sorted(Noise().sample(weights.log(), 4).tolist()) == [0, 1, 2, 3]


def test_popularity_ranks_by_the_number_of_training_users(make, dataset):
    _, items = make("popularity").embeddings()
    counts = np.bincount(dataset.split("train").item_rows, minlength=dataset.n_items)
    np.testing.assert_array_equal(items[:, 0].numpy(), counts)


def test_anchorrec_has_the_five_parts_of_the_bundle(make):
    assert make("anchorrec").factors().item_parts.keys() == {"id", "multimodal", "text", "image", "anchor"}


def test_a_part_with_weight_zero_is_left_out(make):
    assert "text" not in make("anchorrec with weights").factors().item_parts


def test_without_modalities_anchorrec_scores_as_lightgcn(make):
    anchorrec, lightgcn = make("anchorrec without modalities"), make(LightGCNSettings(embedding_size=8))
    lightgcn.load_state_dict(
        {name: dict(anchorrec.named_parameters())[name] for name in ("user_embedding", "item_embedding")}
    )
    for ours, theirs in zip(anchorrec.embeddings(), lightgcn.embeddings(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_correction_is_lambda_times_the_projected_anchor(make):
    model = make(AnchorRecSettings(embedding_size=8, correction_weight=0.3))
    torch.testing.assert_close(model.factors().item_parts["anchor"], 0.3 * model.projected()["multimodal"])


def test_with_all_weights_zero_only_the_ranking_loss_is_left(make, dataset):
    settings = AnchorRecSettings(
        embedding_size=8, aal_weight=0, amp_weight=0, user_item_weight=0, l2_weight=0, correction_weight=0
    )
    terms = make(settings).loss_terms(*a_batch(dataset))
    assert {name for name, term in terms.items() if term != 0} == {"bpr"}


@pytest.mark.parametrize(
    ("detach_anchor", "moves"), [("none", (True, True)), ("mixture", (True, False)), ("both", (False, False))]
)
def test_the_anchor_learns_from_the_aal_terms_that_do_not_detach_it(make, dataset, detach_anchor, moves):
    model = make(AnchorRecSettings(embedding_size=8, detach_anchor=detach_anchor))
    terms = model.loss_terms(*a_batch(dataset))
    anchor = model.projections["multimodal"][0].weight
    for term, moved in zip(("aal_id", "aal_mixture"), moves, strict=True):
        (gradient,) = torch.autograd.grad(terms[term], anchor, retain_graph=True, allow_unused=True)
        assert bool(gradient is not None and gradient.abs().sum() > 0) is moved


def test_features_are_fixed_in_the_paper_variant_and_learn_in_the_released_one(make):
    assert not any(name.startswith("features.") for name, _ in make("anchorrec").named_parameters())
    released = {name for name, _ in make("anchorrec as released").named_parameters()}
    assert {"features.text", "features.image", "features.multimodal"} <= released


def test_in_the_released_variant_the_targets_of_amp_drift_with_the_trained_tables(make, dataset):
    model, batch = make("anchorrec as released"), a_batch(dataset)
    before = model.loss_terms(*batch)["amp_text"].item()
    with torch.no_grad():
        model.features["text"] += torch.randn(model.features["text"].shape)
    after = model.loss_terms(*batch)
    assert after["amp_text"].item() != pytest.approx(before, rel=1e-3)


def test_the_smoothness_term_is_the_weighted_sum_over_the_edges_of_the_anchor_graph(make, dataset):
    model = make("anchorrec as released")
    graph = item_graph(nearest_items(dataset.features["multimodal"], 10)).tocoo()
    embeddings = model.both_sides("multimodal")[dataset.n_users :].detach().numpy()
    gaps = ((embeddings[graph.row] - embeddings[graph.col]) ** 2).sum(axis=1)
    expected = 0.1 * (graph.data * gaps).sum() / graph.nnz
    assert model.loss_terms(*a_batch(dataset))["smoothness"].item() == pytest.approx(expected, rel=1e-4)


def test_a_setting_beside_the_variant_wins_over_what_the_variant_brings():
    settings = AnchorRecSettings.model_validate({"variant": "official", "smoothness_weight": 0.0})
    assert settings.smoothness_weight == 0.0
    assert settings.train_features
    assert AnchorRecSettings.model_validate(settings.model_dump()) == settings


def test_the_alignment_loss_counts_a_repeated_positive_once(make, dataset):
    model = make("anchorrec")
    users, positives, negatives = a_batch(dataset)
    twice = tuple(torch.cat([rows, rows]) for rows in (users, positives, negatives))
    once, doubled = model.loss_terms(users, positives, negatives), model.loss_terms(*twice)
    for term in ("aal_id", "aal_mixture", "amp_text"):
        torch.testing.assert_close(once[term], doubled[term])


def test_the_modality_weights_scale_their_own_amp_term(make, dataset):
    batch = a_batch(dataset)
    plain = make("anchorrec").loss_terms(*batch)
    scaled = make(
        AnchorRecSettings(embedding_size=8, amp_modality_weights=ModalityWeights(text=0.03, image=0))
    ).loss_terms(*batch)
    torch.testing.assert_close(scaled["amp_text"], 0.03 * plain["amp_text"])
    torch.testing.assert_close(scaled["amp_multimodal"], plain["amp_multimodal"])
    assert "amp_image" not in scaled


def test_without_given_fused_features_the_anchor_is_made_of_those_present(dataset):
    settings = AnchorRecSettings()
    given = {"text": dataset.features["text"], "image": dataset.features["image"]}
    made = modality_features(given, settings)
    assert made["multimodal"].shape == (dataset.n_items, 2 * dataset.features["text"].shape[1])
    alone = modality_features({"text": given["text"]}, settings)
    np.testing.assert_allclose(np.linalg.norm(alone["multimodal"], axis=1), 1, rtol=1e-5)
    assert modality_features({}, settings) == {}


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_batch_within_the_cap_of_aligned_items_is_aligned_whole(make, dataset, variant):
    batch = a_batch(dataset)
    settings = {"variant": variant, "embedding_size": 8}
    uncapped = make(AnchorRecSettings.model_validate(settings)).loss_terms(*batch)
    capped = make(AnchorRecSettings.model_validate(settings | {"aligned_items": 64})).loss_terms(*batch)
    assert capped.keys() == uncapped.keys()
    assert all(torch.equal(capped[name], uncapped[name]) for name in capped)


def test_a_larger_batch_is_aligned_over_evenly_spaced_ones_of_its_distinct_positives(make, dataset):
    users, positives, negatives = a_batch(dataset)
    distinct = positives.unique()
    first_middle_last = distinct[[0, (len(distinct) - 1) // 2, len(distinct) - 1]]
    capped = make(AnchorRecSettings(embedding_size=8, aligned_items=3)).loss_terms(users, positives, negatives)
    those = make("anchorrec").loss_terms(users[:3], first_middle_last, negatives[:3])
    for name in ("aal_id", "aal_mixture", "amp_multimodal", "amp_text", "amp_image"):
        torch.testing.assert_close(capped[name], those[name])


def test_in_the_released_variant_the_cap_takes_evenly_spaced_positives_of_the_batch(make, dataset):
    settings = AnchorRecSettings.model_validate({"variant": "official", "embedding_size": 8, "aligned_items": 3})
    users, positives, negatives = a_batch(dataset)
    capped = make(settings).loss_terms(users, positives, negatives)
    those = make("anchorrec as released").loss_terms(users[:3], positives[[0, 31, 63]], negatives[:3])
    torch.testing.assert_close(capped["aal_id"], those["aal_id"])


def test_the_recall_of_each_item_graph_comes_with_the_inputs(dataset):
    inputs = build_inputs(dataset, AnchorRecSettings(graph_search="exact"), CPU)
    assert inputs.graph_recall == dict.fromkeys(("multimodal", "text", "image"), 1.0)
