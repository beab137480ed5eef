"""Settings of AnchorEASE found on the data: the space that fits them, steps in it, and the number of dimensions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner
from worlds import topics_dataset, topics_source

from index.errors import InputError
from trainer.__main__ import app
from trainer.config import load_config
from trainer.data import Recipe, load_dataset
from trainer.prepare import prepare_dataset
from trainer.run_folder import RunFolder
from trainer.tune.defaults import PRESETS, fitting_space, preset_points, tuned_config
from trainer.tune.embedding_size import SizeTrial, chosen_size, compare_sizes
from trainer.tune.space import configured, read_space
from trainer.tune.steps import step_from

SPACE = read_space("anchorease")
POINTS = preset_points(SPACE)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


@given(seed=st.integers(0, 10**6), start=st.sampled_from(POINTS), n_steps=st.integers(1, 20))
def test_steps_never_leave_the_space_and_each_moves_something_but_not_everything(seed, start, n_steps):
    rng, point = np.random.default_rng(seed), start
    for _ in range(n_steps):
        following = step_from(point, SPACE, rng)
        changed = [name for name in point if point[name] != following[name]]
        assert len(changed) < len(point)
        point = following
    configured("anchorease", (), point)  # raises where a value is out of range


def test_a_listed_value_moves_to_its_neighbour():
    point = dict(POINTS[0])
    ridges = {step_from(point, SPACE, np.random.default_rng(seed))["model.ridge"] for seed in range(200)}
    assert ridges == {5.0, 10.0, 25.0}  # from 10 of 2, 5, 10, 25, inf


def test_both_presets_lie_in_the_space():
    assert len(PRESETS) == len(POINTS) == 2
    assert POINTS[0]["model.ridge"] == 10.0
    assert POINTS[1]["model.ridge"] == "inf"


def test_what_the_data_lack_is_not_searched(dataset, tmp_path):
    names = fitting_space(SPACE, dataset, ("model.ridge=5",)).distributions
    assert "model.ridge" not in names
    assert "model.smoothing.text" in names
    assert "model.smoothing.multimodal" not in names  # text and image are there
    assert "model.recency_tau" in names
    source = topics_source(modalities=("multimodal",))
    untimed = replace(source, interactions=source.interactions.drop("timestamp"))
    prepare_dataset(untimed, tmp_path / "fused", Recipe(split="random"))
    names = fitting_space(SPACE, load_dataset(tmp_path / "fused"), ()).distributions
    assert {name for name in names if "smoothing" in name} == {"model.smoothing.multimodal"}
    assert not {"model.recency_tau", "model.order_share", "model.direction"} & set(names)


def test_the_smallest_size_that_keeps_nearly_all_is_chosen():
    trials = [SizeTrial(64, 0.280, 1, 1), SizeTrial(128, 0.298, 2, 2), SizeTrial(256, 0.300, 4, 4)]
    assert chosen_size(trials) == 128


def test_sizes_are_measured_as_models_of_these_sizes_would_be(dataset):
    config = load_config("anchorease", ("evaluation.bootstrap=0",))
    trials = compare_sizes(dataset, config, {})
    assert [trial.embedding_size for trial in trials] == [min(dataset.n_users, dataset.n_items)]
    assert 0 < trials[0].score <= 1
    assert trials[0].search_ms > 0


def test_fit_without_a_configuration_searches_and_a_second_call_finds_its_run(dataset, tmp_path):
    arguments = [
        "fit",
        str(dataset.path),
        "--out",
        str(tmp_path / "run"),
        "--budget",
        "1",
        "--set",
        "evaluation.bootstrap=0",
    ]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "trial 0 complete" in first.output
    run = RunFolder(tmp_path / "run")
    assert run.config().model.name == "anchorease"
    assert (tmp_path / "run" / "tuning" / "best.toml").is_file()
    assert run.result().test["recall@20"] > 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "trial" not in again.output
    with pytest.raises(InputError, match="other settings"):
        tuned_config(dataset, ("seed=5",), tmp_path / "run", budget=1, console=Console())


def test_the_search_for_settings_is_not_shared_among_processes(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    refused = CliRunner().invoke(app, ["fit", str(dataset.path), "--out", str(tmp_path / "run")])
    assert "name a --config" in str(refused.exception)
    assert not (tmp_path / "run").exists()
