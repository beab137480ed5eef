"""The paper's ablations and sensitivities: each is the default but for what its name says, and each trains."""

import math

import pytest
import torch
from worlds import topics_dataset

from trainer.config import CONFIG_FOLDER, RunConfig, load_config
from trainer.fit import fit, make_model
from trainer.run_folder import RunFolder
from trainer.tune.space import configured, read_space

ABLATIONS = {
    "without-aal": {"model.aal_weight": 0.0},
    "without-amp": {"model.amp_weight": 0.0},
    "without-projection": {"model.project": False},
    "without-correction": {"model.correction_weight": 0.0},
    "without-anchor": {"model.aal_weight": 0.0, "model.correction_weight": 0.0},
    "without-text": {"model.modalities": ("multimodal", "image")},
    "without-image": {"model.modalities": ("multimodal", "text")},
    "without-multimodal": {"model.modalities": ("text", "image")},
}
SENSITIVITIES = {
    "sensitivity-aal": "model.aal_weight",
    "sensitivity-amp": "model.amp_weight",
    "sensitivity-correction": "model.correction_weight",
    "sensitivity-temperature": "model.temperature",
}
TINY = ("model.embedding_size=4", "training.epochs=1", "training.batch_size=512")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


def ablation(name: str, *overrides: str) -> RunConfig:
    return load_config(f"ablations/{name}", overrides)


def difference(one: RunConfig, other: RunConfig) -> dict[str, object]:
    """Dotted setting -> its value in `one`, where the other has another."""
    groups = {"": (one, other), "model.": (one.model, other.model), "training.": (one.training, other.training)}
    return {
        f"{prefix}{name}": value
        for prefix, (mine, theirs) in groups.items()
        for name, value in mine
        if value != getattr(theirs, name) and name not in ("model", "training")
    }


def parts(dataset, config: RunConfig) -> set[str]:
    with torch.no_grad():
        return set(make_model(dataset, config).factors().item_parts)


def test_every_ablation_that_ships_is_tested_here():
    assert {path.stem for path in (CONFIG_FOLDER / "ablations").glob("*.toml")} == ABLATIONS.keys()


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_the_default_in_what_its_name_says_and_nothing_else(name):
    assert difference(ablation(name), load_config("anchorrec")) == ABLATIONS[name]


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_trains_to_finite_embeddings(dataset, tmp_path, name):
    config = ablation(name, *TINY)
    fit(dataset, config, RunFolder(tmp_path))
    model = make_model(dataset, config)
    before = [embeddings.detach().clone() for embeddings in model.embeddings()]
    RunFolder(tmp_path).load_best(model)
    for was, now in zip(before, model.embeddings(), strict=True):
        assert now.isfinite().all()
        assert not torch.equal(was, now)


@pytest.mark.parametrize(
    ("name", "lost_terms", "lost_parts"),
    [
        ("without-aal", {"aal_id", "aal_mixture"}, set()),
        ("without-amp", {"amp_multimodal", "amp_text", "amp_image"}, set()),
        ("without-projection", set(), set()),
        ("without-correction", set(), {"anchor"}),
        ("without-anchor", {"aal_id", "aal_mixture"}, {"anchor"}),
        ("without-text", {"amp_text"}, {"text"}),
        ("without-image", {"amp_image"}, {"image"}),
        ("without-multimodal", {"aal_id", "aal_mixture", "amp_multimodal"}, {"multimodal", "anchor"}),
    ],
)
def test_what_is_ablated_is_gone_from_the_loss_and_from_the_embeddings(dataset, name, lost_terms, lost_parts):
    def terms(config: RunConfig) -> set[str]:
        rows = torch.arange(8)
        return set(make_model(dataset, config).loss_terms(rows, rows, rows + 8))

    whole, ablated = load_config("anchorrec", TINY), ablation(name, *TINY)
    assert terms(whole) - terms(ablated) == lost_terms
    assert parts(dataset, whole) - parts(dataset, ablated) == lost_parts


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_without_projection_the_origins_themselves_are_aligned(dataset, variant):
    model = make_model(dataset, ablation("without-projection", *TINY, f"model.variant={variant}"))
    with torch.no_grad():
        projected = model.projected()
        for name in ("id", "multimodal", "text", "image"):
            items = model.both_sides(name)[dataset.n_users :]
            torch.testing.assert_close(projected[name], items)
    assert not [name for name, _ in model.named_parameters() if name.startswith("projections")]


@pytest.mark.parametrize(("name", "setting"), SENSITIVITIES.items())
def test_a_sensitivity_is_a_grid_over_its_one_setting_around_the_default(name, setting):
    space, default = read_space(name), load_config("anchorrec")
    values = [point[setting] for point in space.points()]
    assert list(space.distributions) == [setting]
    assert values == sorted(values)
    assert values[0] < getattr(default.model, setting.removeprefix("model.")) < values[-1]
    for value in values:
        config = configured("anchorrec", (), {setting: value})
        assert difference(config, default).keys() <= {setting}
        assert math.isclose(getattr(config.model, setting.removeprefix("model.")), value)
