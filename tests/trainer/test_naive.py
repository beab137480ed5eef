"""The fast AnchorRec gives the numbers of its formulas written out densely, at many sizes and settings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from naive_anchorrec import FEATURES, MODALITIES, draw, make_world, paper_loss, record

from trainer.golden import MODELS, TOLERANCE, verify_golden
from trainer.golden.correspondence import MODALITY_NAMES
from trainer.inputs import make_inputs
from trainer.model_settings import AnchorRecSettings
from trainer.models.anchorrec import AnchorRec

GOLDENS = Path(__file__).parent / "goldens"
CASES = {
    "as the reference's files": {},
    "larger and as published": {
        "n_users": 150, "n_items": 110, "n_pairs": 900, "batch": 256, "embedding_size": 64, "knn_k": 10,
        "train_batch_size": 2048, "widths": {"mm": 96, "t": 48, "v": 300}, "aal_loss": 1e-3, "amp_loss": 0.1,
        "recover_lambda": 5e-4,
    },
    "features narrower than embeddings": {"widths": {"mm": 5, "t": 3, "v": 4}},
    "few items, each many times in a batch": {"n_items": 6, "n_pairs": 70, "batch": 96, "knn_k": 2},
    "items and users without interactions": {"n_pairs": 25, "batch": 8},
    "three layers of users and items": {"n_ui_layers": 3, "n_layers": 3},
    "one layer, only the item itself as neighbour": {"n_ui_layers": 1, "knn_k": 1},
    "half of the items as neighbours": {"knn_k": 12},
    "hot": {"tau_weight": 1.0},
    "cold": {"tau_weight": 0.05},
    "without alignment": {"aal_loss": 0.0},
    "without preservation": {"amp_loss": 0.0},
    "without correction": {"recover_lambda": 0.0},
    "without squared norms": {"lambda_weight": 0.0},
    "without the cosine flag": {"ui_cosine_loss": False},
}  # fmt: skip

NAMES = {
    ours: theirs
    for ours, theirs in MODELS["anchorrec"].parameters.items()
    if not ours.startswith(("features.", "decoder."))
}


def paper_model(golden: dict[str, object]) -> AnchorRec:
    settings = AnchorRecSettings(
        embedding_size=golden["cfg_embedding_size"],
        n_layers=golden["cfg_n_ui_layers"],
        n_item_layers=golden["cfg_n_layers"],
        k=golden["cfg_knn_k"],
        aal_weight=golden["cfg_aal_loss"],
        amp_weight=golden["cfg_amp_loss"],
        l2_weight=golden["cfg_lambda_weight"],
        temperature=golden["cfg_tau_weight"],
        correction_weight=golden["cfg_recover_lambda"],
        user_item_weight=golden["cfg_ui_cosine_loss_weight"],
    )
    features = {ours: golden[FEATURES[theirs]] for ours, theirs in MODALITY_NAMES.items()}
    sizes = *golden["edges"].T, golden["n_users"], golden["n_items"]
    inputs = make_inputs(*sizes, features=features, settings=settings, device=torch.device("cpu"))
    return AnchorRec(settings, inputs, batch_size=golden["cfg_train_batch_size"])


@pytest.mark.parametrize("file", ["anchorrec", "anchorrec_L1"])
def test_the_formulas_written_out_give_the_reference_numbers(file):
    golden = {
        name: value if value.ndim else value.item() for name, value in np.load(GOLDENS / f"golden_{file}.npz").items()
    }
    drawn = {name: value for name, value in golden.items() if name in draw() or name.startswith("cfg_")}
    recorded = record(drawn)
    compared = recorded.keys() & golden.keys() - drawn.keys()
    assert len(compared) > 100
    for name in compared:
        np.testing.assert_allclose(recorded[name], golden[name], rtol=0, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_the_released_variant_gives_the_numbers_of_its_formulas(tmp_path, name):
    np.savez(tmp_path / "golden.npz", **record(draw(**CASES[name])))
    differences = verify_golden("anchorrec", tmp_path / "golden.npz")
    assert max(differences.values()) <= TOLERANCE, max(differences.items(), key=lambda item: item[1])


@pytest.mark.parametrize("name", CASES)
def test_the_paper_s_variant_has_the_loss_and_the_gradients_of_its_formulas(name):
    golden = draw(variant="paper", **CASES[name])
    world = make_world(golden)
    theirs = {key.removeprefix("param/"): torch.from_numpy(v) for key, v in golden.items() if key.startswith("param/")}
    features = {m: torch.from_numpy(golden[FEATURES[m]]) for m in MODALITIES}
    model = paper_model(golden)
    model.load_state_dict({ours: theirs[their] for ours, their in NAMES.items()})
    batch = torch.from_numpy(golden["batches"][0])
    loss = paper_loss({key: value.requires_grad_() for key, value in theirs.items()}, world, batch, features)
    terms = model.loss_terms(*batch)
    ours = torch.stack(list(terms.values())).sum()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    ours.backward()
    for parameter_name, parameter in model.named_parameters():
        expected = theirs[NAMES[parameter_name]].grad
        found = torch.zeros_like(expected) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=parameter_name)
