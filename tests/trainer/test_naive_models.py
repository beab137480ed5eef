"""LATTICE, SMORE and DA-MRS give the numbers of their equations written out densely, at many sizes and settings."""

import naive_models
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.graph import interaction_matrix
from trainer.inputs import make_inputs
from trainer.model_settings import DAMRSSettings, LATTICESettings, SMORESettings
from trainer.models import build_model

sizes = st.fixed_dictionaries(
    {
        "n_users": st.integers(2, 25),
        "n_items": st.integers(21, 45),
        "n_pairs": st.integers(1, 150),
        "batch": st.integers(1, 40),
        "embedding_size": st.sampled_from([3, 8, 16]),
        "widths": st.tuples(st.integers(4, 12), st.integers(4, 12)),
        "seed": st.integers(0, 10**6),
    }
)
layers = st.integers(1, 3)
OWN = {
    "lattice": (LATTICESettings, {"k": st.integers(2, 12), "given_share": st.sampled_from([0.0, 0.3, 0.9])}),
    "smore": (SMORESettings, {"k_image": st.integers(2, 12), "k_text": st.integers(2, 12)}),
    "damrs": (DAMRSSettings, {"k": st.integers(1, 12), "n_companions": st.integers(1, 4), "kl_weight": st.just(0.5)}),
}


@pytest.mark.parametrize("name", OWN)
@settings(max_examples=7, deadline=None)
@given(size=sizes, depth=st.tuples(layers, layers), data=st.data())
def test_loss_gradients_and_embeddings_are_those_of_the_equations(name, size, depth, data):
    kind, own = OWN[name]
    chosen = kind(
        embedding_size=size["embedding_size"],
        n_layers=depth[0],
        n_item_layers=depth[1],
        **data.draw(st.fixed_dictionaries(own)),
    )
    rng = np.random.default_rng(size["seed"])
    # All above 0: no row of a kNN graph may sum to less than nothing, where the reference has no number.
    features = {
        m: rng.random((size["n_items"], width), dtype=np.float32)
        for m, width in zip(("image", "text"), size["widths"], strict=True)
    }
    pairs = rng.integers(0, size["n_users"], size["n_pairs"]), rng.integers(0, size["n_items"], size["n_pairs"])
    shape = size["n_users"], size["n_items"]
    inputs = make_inputs(*pairs, *shape, features=features, settings=chosen, device=torch.device("cpu"))
    model = build_model(chosen, inputs, batch_size=64, seed=size["seed"]).eval()
    # Positives of training: of a user without any, whose side is 0, the contrast has no direction to pull in.
    drawn = rng.integers(0, size["n_pairs"], size["batch"])
    negatives = rng.integers(0, size["n_items"], size["batch"])
    batch = torch.from_numpy(np.stack([pairs[0][drawn], pairs[1][drawn], negatives]))

    parameters = {key: value.detach().double().requires_grad_() for key, value in model.named_parameters()}
    world = naive_models.World(
        torch.from_numpy(interaction_matrix(*pairs, *shape).toarray()),
        {m: torch.from_numpy(table).double() for m, table in features.items()},
        chosen,
        batch_size=64,
    )
    expected = getattr(naive_models, name)(parameters, world, batch)
    ours = torch.stack(list(model.loss_terms(*batch).values())).sum()
    assert ours.item() == pytest.approx(expected.loss.item(), rel=2e-5, abs=1e-6)
    gradients = torch.autograd.grad(expected.loss, list(parameters.values()), allow_unused=True)
    ours.backward()
    for (key, value), gradient in zip(model.named_parameters(), gradients, strict=True):
        theirs = torch.zeros_like(value) if gradient is None else gradient.float()
        found = torch.zeros_like(value) if value.grad is None else value.grad
        torch.testing.assert_close(found, theirs, rtol=2e-3, atol=2e-5, msg=lambda said, key=key: f"{key}: {said}")
    with torch.no_grad():
        users, items = model.embeddings()
    torch.testing.assert_close(users, expected.users.detach().float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(items, expected.items.detach().float(), rtol=1e-4, atol=1e-5)
