"""The benchmark of scale: what it makes up, what it measures, and the line and picture that it ends with."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from index.errors import InputError
from trainer.__main__ import app
from trainer.model_settings import AnchorRecSettings
from trainer.scaling_benchmark import (
    ScaleCost,
    measure_size,
    open_synthetic_data,
    scale_table,
    shape_of,
    write_synthetic_data,
)


def test_sizes_are_in_the_proportions_of_the_largest():
    shape = shape_of(200_000)
    assert (shape.n_users, shape.n_pairs) == (500_000, 5_000_000)
    assert dict(shape.widths) == {"multimodal": 512, "text": 384, "image": 768}


def test_made_up_data_have_their_sizes_distinct_pairs_and_memory_mapped_float16_features(tmp_path):
    shape = shape_of(200)
    write_synthetic_data(tmp_path, shape)
    dataset = open_synthetic_data(tmp_path, shape)
    pairs = dataset.split("train")
    assert (dataset.n_users, dataset.n_items, len(pairs)) == (500, 200, 5000)
    assert len(np.unique(pairs.user_rows.astype(np.int64) * 200 + pairs.item_rows)) == 5000
    for modality, width in shape.widths:
        features = dataset.features[modality]
        assert isinstance(features, np.memmap)
        assert (features.dtype, features.shape) == (np.float16, (200, width))
        assert np.isfinite(features).all()


def test_the_same_features_are_made_up_every_time(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write_synthetic_data(folder, shape_of(60))
    assert (tmp_path / "one/image.npy").read_bytes() == (tmp_path / "two/image.npy").read_bytes()


def test_the_command_runs_an_epoch_and_ends_with_a_picture_and_one_json_line(tmp_path):
    arguments = ["bench", "--scale", "--sizes", "80", "--threads", "1", "--batch-size", "500"]
    result = CliRunner().invoke(app, [*arguments, "--plot", str(tmp_path / "scale.png")])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    (size,) = record["sizes"]
    assert (size["n_items"], size["n_users"], size["n_interactions"]) == (80, 200, 2000)
    assert (size["steps_an_epoch"], size["epoch_was_run"]) == (4, True)
    assert size["epoch"] > size["step"] > 0
    assert 0.05 < size["peak_gb"] < 8
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_an_epoch_that_is_not_run_is_projected_from_the_median_step(tmp_path):
    write_synthetic_data(tmp_path, shape_of(80))
    cost = measure_size(
        tmp_path, shape_of(80), AnchorRecSettings(), limit=3, threads=torch.get_num_threads(), batch_size=250
    )
    assert (cost.steps_an_epoch, cost.epoch_was_run) == (8, False)
    assert cost.epoch > 8 * cost.step


def test_the_table_says_whether_an_epoch_was_run_or_projected():
    cost = ScaleCost(40, 100, 1000, 1.0, 0.96, 0.5, 4, 2.0, False, 1.5)
    row = [next(iter(column.cells)) for column in scale_table([cost], title="").columns]
    assert row[-4:] == ["96.0%", "0.50 s", "~2 s", "1.50 GB"]


@pytest.mark.parametrize("arguments", [["--sizes", "0"], ["--model", "lightgcn", "--model", "anchorrec, paper"]])
def test_no_items_and_two_models_are_refused(arguments):
    result = CliRunner().invoke(app, ["bench", "--scale", *arguments])
    assert isinstance(result.exception, InputError)
    assert "--scale takes one model and sizes of at least 1" in str(result.exception)


def test_of_a_model_that_is_computed_at_once_everything_up_to_its_bundle_is_timed():
    arguments = ["--model", "anchorease-sparse", "--sizes", "80", "--threads", "1"]
    result = CliRunner().invoke(app, ["bench", "--scale", *arguments])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    (size,) = record["sizes"]
    assert (record["model"], size["n_items"], size["n_users"], size["n_interactions"]) == (arguments[1], 80, 200, 2000)
    assert size["total"] == pytest.approx(size["inputs"] + size["solve"] + size["export"], abs=0.1)
    assert 0.05 < size["peak_gb"] < 8
