"""Data of which nothing is held out for validation, for test or for both, and data that teach nothing."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from index.errors import InputError
from index.gate import check_bundle
from index.registry import Registry
from trainer.analyze.report import analyze
from trainer.analyze.sections import AnalysisSettings
from trainer.compare import compare_runs
from trainer.config import load_config
from trainer.data import Recipe, Source, load_dataset
from trainer.evaluate_run import evaluate_run
from trainer.export import export_run
from trainer.fit import fit
from trainer.prepare import prepare_dataset
from trainer.result_tables import comparison_rows, figures_table
from trainer.run_folder import RunFolder
from trainer.tune import command
from trainer.tune.space import read_space
from trainer.tune.study import TuningPlan

SMALL = ("training.epochs=3", "training.patience=0", "model.embedding_size=4", "device=cpu")


def small_data(folder, labels, recipe=None):
    """Eight users with as many interactions as there are labels, over six items with features."""
    pairs = [(f"u{u}", f"i{(u + k) % 6}", label) for u in range(8) for k, label in enumerate(labels)]
    features = np.random.default_rng(0).random((6, 5), np.float32)
    source = Source(
        name="small",
        interactions=pl.DataFrame(pairs, schema=["user_id", "item_id", "split"], orient="row"),
        items=pl.DataFrame({"item_id": [f"i{k}" for k in range(6)]}),
        features={"text": features, "image": features + 1},
    )
    info = prepare_dataset(source, folder, recipe or Recipe(split="given"))
    return info, load_dataset(folder)


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("small") / "data", [0, 0], Recipe(split="random"))


def test_prepare_says_that_there_is_nothing_to_measure(unmeasured):
    assert "nothing is held out for validation or test, so there is nothing to measure" in unmeasured[0].notes[-1]


@pytest.mark.parametrize("name", ["popularity", "lightgcn", "anchorrec"])
def test_a_model_is_trained_to_its_last_epoch_exported_and_passes_the_gate(unmeasured, tmp_path, capsys, name):
    run = RunFolder(tmp_path / "run")
    result = fit(unmeasured[1], load_config(name, SMALL if name != "popularity" else ()), run)
    assert "nothing is held out for validation: every epoch is run" in " ".join(capsys.readouterr().err.split())
    assert (result.best_epoch, result.valid, result.test) == (2 if name != "popularity" else 0, {}, {})
    figures_table({"run": result})
    registry = Registry(tmp_path / "bundles")
    bundle = export_run(run, registry, created_at=datetime.now(UTC))
    assert check_bundle(bundle, bundle).passed
    assert analyze([run.path], tmp_path / "report", AnalysisSettings(tsne_items=0)).is_file()
    with pytest.raises(InputError, match="nothing is held out for test: there is nothing to measure"):
        evaluate_run(run, "test")


@pytest.mark.parametrize(("labels", "measured"), [([0, 0, 1], (True, False)), ([0, 0, 2], (False, True))])
def test_only_what_is_held_out_is_measured(tmp_path, labels, measured):
    _, data = small_data(tmp_path / "data", labels)
    result = fit(data, load_config("lightgcn", SMALL), RunFolder(tmp_path / "run"))
    assert (bool(result.valid), bool(result.test)) == measured


def test_a_comparison_shows_no_figures_and_tests_no_differences(unmeasured, tmp_path):
    found = compare_runs([unmeasured[1].path], ["popularity", "lightgcn"], tmp_path, baseline="popularity")
    assert found.tests == []
    assert {row[2] for row in comparison_rows(found.results, found.metrics)[1]} == {"-"}


def test_tuning_is_refused_before_anything_is_written(unmeasured, tmp_path):
    plan = TuningPlan("lightgcn", read_space("lightgcn"))
    with pytest.raises(InputError, match="nothing is held out for validation, by which settings are chosen"):
        command.tune(unmeasured[1], plan, tmp_path / "study", console=Console())
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    "pairs",
    [[("u", "i")], [("u", "i"), ("v", "i")], [("u", "i"), ("u", "j")], [(u, i) for u in "uvw" for i in "ijk"]],
    ids=["one pair", "one item", "one user", "everybody has everything"],
)
def test_data_that_teach_nothing_are_refused_but_by_popularity(tmp_path, pairs):
    interactions = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    items = interactions.select(pl.col("item_id").unique())
    prepare_dataset(
        Source("small", interactions.with_columns(split=0), items), tmp_path / "data", Recipe(split="given")
    )
    data = load_dataset(tmp_path / "data")
    with pytest.raises(InputError, match=r"every user has every item.*--config popularity needs nothing"):
        fit(data, load_config("lightgcn", SMALL), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    fit(data, load_config("popularity"), RunFolder(tmp_path / "run"))


def test_a_model_whose_loss_needs_more_items_says_so(unmeasured, tmp_path):
    with pytest.raises(InputError, match=r"damrs needs 11 items or more; .* has 6"):
        fit(unmeasured[1], load_config("damrs", SMALL), RunFolder(tmp_path / "run"))


def test_a_run_of_no_epochs_keeps_the_initial_state(unmeasured, tmp_path):
    result = fit(unmeasured[1], load_config("lightgcn", (*SMALL, "training.epochs=0")), RunFolder(tmp_path / "run"))
    assert (result.best_epoch, result.valid) == (-1, {})
