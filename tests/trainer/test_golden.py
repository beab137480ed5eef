"""The replay of reference numbers: it passes on ours, and it does notice when something is off."""

import json
from pathlib import Path

import forkserver
import numpy as np
import pytest

from index.errors import InputError
from trainer.golden import MODELS, TOLERANCE, tolerance_of, verify_golden

GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize(
    ("model", "file"),
    [*((model, model) for model in MODELS), ("anchorrec", "anchorrec_L1")],
)
def test_our_model_gives_the_reference_numbers(model, file):
    differences = verify_golden(model, GOLDENS / f"golden_{file}.npz")
    assert max(differences.values()) <= TOLERANCE
    assert {"losses", "final_user", "final_item", "init_scores"} <= differences.keys()
    assert len([name for name in differences if name.startswith("term/")]) >= 2
    assert any(name.startswith("grad/") for name in differences)


WINNERS = ("plain", "order", "sparse")
RECORDED = {"B0", "B", "scores", "anchor_scores", "final_scores", "singular_values"} | {
    f"part_scores/{part}" for part in ("id", "text", "image")
}


@pytest.mark.parametrize("file", WINNERS)
def test_anchorease_gives_the_reference_numbers_exactly_and_by_iteration(file):
    differences = verify_golden("anchorease", GOLDENS / f"golden_winner_{file}.npz")
    assert differences.keys() == RECORDED | {f"by iteration: {name}" for name in RECORDED}
    for name, difference in differences.items():
        assert difference <= tolerance_of(name) == (1e-3 if name.startswith("by iteration") else 1e-5), name


@pytest.mark.parametrize("setting", ["a", "b", "e", "c", "g", "lambda", "k", "theta", "L", "kappa", "rho", "ridge"])
def test_a_changed_setting_of_anchorease_is_noticed(tmp_path, setting):
    golden = dict(np.load(GOLDENS / "golden_winner_order.npz"))
    changed = json.loads(str(golden["settings"]))
    changed[setting] = changed[setting] + 2 if isinstance(changed[setting], int) else changed[setting] * 0.9
    np.savez(tmp_path / "changed.npz", **golden | {"settings": np.array(json.dumps(changed))})
    differences = verify_golden("anchorease", tmp_path / "changed.npz")
    assert any(difference > tolerance_of(name) for name, difference in differences.items())


def test_of_the_released_anchorrec_every_recorded_term_parameter_and_inner_embedding_is_compared():
    golden = np.load(GOLDENS / "golden_anchorrec.npz")
    compared = verify_golden("anchorrec", GOLDENS / "golden_anchorrec.npz").keys()
    recorded = {name for name in golden.files if name.startswith(("grad/", "param_after/", "init_", "final_"))}
    assert recorded <= compared
    assert len([name for name in compared if name.startswith("term/")]) == 9


@pytest.mark.parametrize("setting", ["aal_loss", "amp_loss", "recover_lambda", "tau_weight", "knn_k"])
def test_a_changed_setting_of_the_released_anchorrec_is_noticed(tmp_path, setting):
    golden = dict(np.load(GOLDENS / "golden_anchorrec.npz"))
    golden[f"cfg_{setting}"] = golden[f"cfg_{setting}"] + 1
    np.savez(tmp_path / "changed.npz", **golden)
    assert max(verify_golden("anchorrec", tmp_path / "changed.npz").values()) > TOLERANCE


SETTINGS_OF = {
    "vbpr": ("reg_weight",),
    "lattice": ("reg_weight", "lambda_coeff", "n_layers", "knn_k"),
    "freedom": ("reg_weight", "n_mm_layers", "n_ui_layers", "knn_k", "mm_image_weight"),
    "lgmrec": ("n_ui_layers", "n_mm_layers", "n_hyper_layer", "alpha", "cl_weight", "reg_weight"),
    "smore": ("n_ui_layers", "n_layers", "reg_weight", "cl_loss", "image_knn_k", "text_knn_k"),
    "bm3": ("n_layers", "reg_weight", "cl_weight"),
    "damrs": ("kl_weight", "neighbor_weight", "n_mm_layers", "n_ui_layers", "knn_k"),
    "alignrec": ("n_ui_layers", "n_layers", "reg_weight", "knn_k", "cl_loss", "sim_weight", "ui_cosine_loss_weight"),
}


@pytest.mark.parametrize(
    ("model", "setting"), [(model, name) for model, names in SETTINGS_OF.items() for name in names]
)
def test_a_changed_setting_of_any_model_is_noticed(tmp_path, model, setting):
    golden = dict(np.load(GOLDENS / f"golden_{model}.npz"))
    changed = golden[f"cfg_{setting}"]
    golden[f"cfg_{setting}"] = changed + 1 if changed.dtype.kind in "iu" else changed * 0.5
    np.savez(tmp_path / "changed.npz", **golden)
    assert max(verify_golden(model, tmp_path / "changed.npz").values()) > TOLERANCE


@pytest.mark.parametrize("model", ["smore", "lgmrec", "bm3"])
def test_recorded_noise_that_does_not_fit_is_refused(tmp_path, model):
    golden = dict(np.load(GOLDENS / f"golden_{model}.npz"))
    golden["dropmask/step0/0"] = golden["dropmask/step0/0"][1:]
    np.savez(tmp_path / "changed.npz", **golden)
    with pytest.raises(InputError, match="our model draws"):
        verify_golden(model, tmp_path / "changed.npz")


@pytest.mark.parametrize("changed", ["cfg_reg_weight", "adam_lr", "edges", "batches", "final_item"])
def test_a_changed_number_is_noticed(tmp_path, changed):
    golden = dict(np.load(GOLDENS / "golden_lightgcn.npz"))
    golden[changed] = golden[changed][:-1] if changed == "edges" else np.roll(golden[changed] * 2 % 24, 1)
    np.savez(tmp_path / "changed.npz", **golden)
    assert max(verify_golden("lightgcn", tmp_path / "changed.npz").values()) > TOLERANCE


def test_a_file_of_another_model_is_refused():
    with pytest.raises(InputError, match="no array"):
        verify_golden("lightgcn", GOLDENS / "golden_bpr.npz")


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"expected one of .*bpr"):
        verify_golden("word2vec", GOLDENS / "golden_bpr.npz")


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match="not a readable golden file"):
        verify_golden("bpr", tmp_path / "x.npz")


def test_the_command_line_exits_zero_on_agreement_and_one_on_difference(tmp_path):
    golden = dict(np.load(GOLDENS / "golden_bpr.npz"))
    golden["losses"] = golden["losses"] + 2e-5
    np.savez(tmp_path / "off.npz", **golden)
    good, bad = (
        forkserver.run("trainer", "verify-golden", "--model", "bpr", file)
        for file in (GOLDENS / "golden_bpr.npz", tmp_path / "off.npz")
    )
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 1
    assert "TOO FAR" in bad.stdout


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_damaged_file_is_refused(tmp_path, place):
    content = bytearray((GOLDENS / "golden_bpr.npz").read_bytes())
    content[int(len(content) * place)] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match="not a readable golden file"):
        verify_golden("bpr", tmp_path / "x.npz")


@pytest.mark.parametrize("value", [np.array("x"), np.zeros(0), np.full(3, 2**40), np.full((2, 2), -7)])
@pytest.mark.parametrize("name", ["edges", "n_users", "cfg_train_batch_size"])
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, name, value):
    golden = dict(np.load(GOLDENS / "golden_bpr.npz"))
    np.savez(tmp_path / "x.npz", **golden | {name: value})
    with pytest.raises(InputError, match="do not fit together"):
        verify_golden("bpr", tmp_path / "x.npz")
