"""Comparisons: every run once, figures averaged over seeds, differences tested user by user, errors said at once."""

import io
import json
import re
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner
from worlds import topics_dataset

from index.errors import InputError
from trainer.__main__ import app
from trainer.compare import compare_runs
from trainer.config import load_config, shipped_configs
from trainer.experiment_matrix import Cell, make_plan
from trainer.result_tables import comparison_tables, rest_rows
from trainer.run_folder import RunFolder

OVERRIDES = ("training.epochs=3", "training.batch_size=128", "training.learning_rate=0.02", "evaluation.bootstrap=100")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two prepared data sets."""
    root = tmp_path_factory.mktemp("data")
    for name, seed in (("one", 0), ("two", 1)):
        topics_dataset(root / name, seed=seed)
    return root


@pytest.fixture(scope="module")
def nested(data, tmp_path_factory):
    """Two configurations on two data sets with two seeds: folder and what was found."""
    out = tmp_path_factory.mktemp("runs")
    names = ["popularity", "bpr"]
    return out, compare_runs([data / "one", data / "two"], names, out, overrides=OVERRIDES, seeds=(1, 2))


def test_one_data_set_without_seeds_keeps_its_runs_flat_and_its_record_by_configuration(data, tmp_path):
    found = compare_runs([data / "one"], ["popularity", "bpr"], tmp_path, overrides=OVERRIDES)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert list(record) == ["popularity", "bpr"]
    assert record["bpr"] == json.loads((tmp_path / "bpr" / "result.json").read_text())
    assert record["bpr"] == asdict(found.results[Cell("one", "bpr")][999])


def test_several_data_sets_and_seeds_have_a_folder_each_and_a_record_by_data_configuration_and_seed(nested):
    out, found = nested
    record = json.loads((out / "comparison.json").read_text())
    for cell, runs in found.results.items():
        for seed, result in runs.items():
            folder = RunFolder(out / cell.data / cell.config / str(seed))
            assert folder.config().seed == seed
            assert folder.result() == result
            assert record[cell.data][cell.config][str(seed)] == asdict(result)
    assert len(found.results) == 4


def test_several_splits_are_run_as_data_sets_of_their_own_and_labels_that_are_the_same_only_once(data, tmp_path):
    options = {"overrides": (*OVERRIDES, "training.epochs=1"), "splits": ("given", "random", "time")}
    found = compare_runs([data / "one"], ["popularity", "bpr"], tmp_path, **options)
    assert [cell.data for cell in found.results] == ["one-given", "one-given", "one-time", "one-time"]
    by_time, given = (RunFolder(tmp_path / f"one-{name}" / "bpr" / "999").dataset() for name in ("time", "given"))
    trained, tested = by_time.split("train"), by_time.split("test")
    assert trained.timestamps[trained.user_rows == 0].max() <= tested.timestamps[tested.user_rows == 0].min()
    assert given.labels.split == "given"
    recall = found.results[Cell("one-time", "bpr")][999].test["recall@20"]
    assert f"{recall:.4f}" in evaluate(tmp_path / "one-time" / "bpr" / "999")


def test_one_split_keeps_the_runs_flat(data, tmp_path):
    compare_runs([data / "one"], ["popularity"], tmp_path, splits=("time",))
    assert RunFolder(tmp_path / "popularity").dataset().labels.split == "time"


def test_the_csv_has_mean_and_standard_deviation_over_the_seeds(nested):
    out, found = nested
    table = pl.read_csv(out / "comparison.csv")
    assert table.select("data", "config", "seeds").rows() == [
        ("one", "popularity", 2),
        ("one", "bpr", 2),
        ("two", "popularity", 2),
        ("two", "bpr", 2),
    ]
    runs = found.results[Cell("two", "bpr")].values()
    for name in ("recall@20", "gini@10", "tail/ndcg@50"):
        values = [run.test[name] for run in runs]
        assert table[f"test {name}"][3] == pytest.approx(np.mean(values))
        assert table[f"test {name} sd"][3] == pytest.approx(np.std(values, ddof=1))
    assert table["test recall@20 low"][3] == pytest.approx(np.mean([run.test_low["recall@20"] for run in runs]))
    assert table["seconds"][3] == pytest.approx(np.mean([run.seconds for run in runs]))
    assert table["test text_cosine"][2] is None  # of popularity


def test_the_tests_pair_users_whose_values_are_averaged_over_the_seeds_first(nested):
    out, found = nested
    (versus,) = (v for v in found.tests if v.cell == Cell("one", "bpr") and v.metric == "ndcg@20")
    users = {
        config: [RunFolder(out / "one" / config / str(seed)).users()["ndcg@20"].to_numpy() for seed in (1, 2)]
        for config in ("bpr", "popularity")
    }
    ours, theirs = (np.mean(users[config], axis=0, dtype=float) for config in ("bpr", "popularity"))
    assert versus.test.difference == pytest.approx((ours - theirs).mean())
    assert versus.test.p_t == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)


def test_p_values_are_adjusted_over_all_comparisons_by_a_metric(nested):
    _, found = nested
    by_metric = [v for v in found.tests if v.metric == "recall@20"]
    p = np.array([v.test.p_t for v in by_metric])
    assert len(p) == 2  # bpr against popularity on either data set
    np.testing.assert_allclose(
        [v.holm_t for v in by_metric], np.where(p == p.min(), 2 * p.min(), max(2 * p.min(), p.max()))
    )
    table = pl.read_csv(nested[0] / "tests.csv").filter(metric="recall@20")
    np.testing.assert_allclose(table["holm_t"], [v.holm_t for v in by_metric])


def test_the_markdown_shows_every_configuration_with_its_deviation_and_the_tests(nested):
    page = (nested[0] / "comparison.md").read_text()
    figures, tests = page.split("mean change from popularity")
    mean = np.mean([run.test["recall@20"] for run in nested[1].results[Cell("one", "bpr")].values()])
    runs = nested[1].results[Cell("one", "bpr")].values()
    accuracy, rest = (line for line in figures.splitlines() if line.startswith("| one | bpr |"))
    assert f"{mean:.4f} ±" in accuracy
    low, high = (np.mean([getattr(run, bound)["recall@20"] for run in runs]) for bound in ("test_low", "test_high"))
    assert f"| {low:.4f}-{high:.4f} |" in accuracy
    assert f"| {np.mean([run.test['text_cosine'] for run in runs]):.3f} |" in rest
    assert f"| {np.mean([run.seconds for run in runs]):.1f} |" in rest
    assert tests.count("| bpr |") == 4
    for columns, part in zip((8, 10), figures.split("beyond accuracy"), strict=True):
        assert {line.count("|") - 1 for line in part.splitlines() if line.startswith("|")} == {columns}


def test_finished_runs_are_used_again_and_only_what_is_new_is_run(data, nested, tmp_path):
    out, found = nested
    before = {path: path.stat().st_mtime_ns for path in out.rglob("best.pt")}
    seeds = (2, 1, 3)
    again = compare_runs([data / "one"], ["popularity", "bpr"], out, overrides=OVERRIDES, seeds=seeds, baseline="bpr")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (out / "one" / "bpr" / "3" / "best.pt").exists()
    assert again.results[Cell("one", "bpr")][1] == found.results[Cell("one", "bpr")][1]
    assert {versus.cell.config for versus in again.tests} == {"popularity"}


def test_figures_that_are_no_means_over_users_are_shown_but_not_tested(data, nested):
    metrics = ("coverage@20", "tail/recall@20")
    out, names = nested[0], ["popularity", "bpr"]
    found = compare_runs([data / "one"], names, out, overrides=OVERRIDES, seeds=(1, 2), metrics=metrics)
    assert {versus.metric for versus in found.tests} == {"tail/recall@20"}
    assert "test coverage@20" in (out / "comparison.md").read_text()


def test_an_override_that_a_model_does_not_know_names_the_configuration_before_anything_is_written(data, tmp_path):
    with pytest.raises(InputError, match=r"configuration 'popularity' does not take .*unknown key model\.n_layers"):
        compare_runs([data / "one"], ["lightgcn", "popularity"], tmp_path / "out", overrides=("model.n_layers=3",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"configs": ["bpr", "bpr"]}, "configurations must differ in name, found bpr, bpr"),
        ({"configs": ["bpr", "nowhere"]}, "'nowhere' not found"),
        ({"data": ["one", "one"]}, "data sets must differ in name, found one, one"),
        ({"data": ["one", "gone"]}, "gone is not a prepared dataset"),
        ({"splits": ("time", "time")}, "splits must differ in name, found time, time"),
        ({"seeds": (1, 2, 1)}, "seeds must differ in name, found 1, 2, 1"),
        ({"seeds": (1, 2), "overrides": ("seed=3",)}, "seeds are given twice"),
        ({"baseline": "lightgcn"}, "baseline 'lightgcn' is none of the configurations popularity, bpr"),
        ({"metrics": ("recall@7",)}, "recall@7 is not measured by popularity: expected one of recall, ndcg"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(data, tmp_path, options, said):
    options = {"data": ["one"], "configs": ["popularity", "bpr"], **options}
    folders = [data / name for name in options.pop("data")]
    with pytest.raises(InputError, match=said):
        compare_runs(folders, options.pop("configs"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_configurations_that_are_measured_differently_are_not_compared(data, tmp_path):
    (tmp_path / "mine.toml").write_text('model.name = "bpr"\nevaluation.mask_valid_at_test = true\n')
    with pytest.raises(InputError, match="popularity and mine have other evaluation settings"):
        make_plan([data / "one"], ["popularity", str(tmp_path / "mine.toml")], tmp_path / "out")


def test_a_folder_that_holds_another_run_is_refused_before_the_first_epoch(data, tmp_path):
    compare_runs([data / "one"], ["bpr"], tmp_path, overrides=OVERRIDES)
    with pytest.raises(InputError, match=r"holds a run of another configuration .training\.epochs is 3 there, 4 here"):
        compare_runs([data / "one"], ["popularity", "bpr"], tmp_path, overrides=(*OVERRIDES, "training.epochs=4"))
    assert not (tmp_path / "popularity").exists()


def test_a_run_without_test_figures_cannot_be_tested(data, nested, tmp_path):
    compare_runs([data / "one"], ["popularity", "bpr"], tmp_path, overrides=OVERRIDES)
    (tmp_path / "bpr" / "users.parquet").unlink()
    with pytest.raises(InputError, match=r"no users\.parquet: it was finished without measuring the test split"):
        compare_runs([data / "one"], ["popularity", "bpr"], tmp_path, overrides=OVERRIDES)


def compare(*arguments) -> str:
    """The command's output without its wrapping; an InputError passes through."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["compare", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


SHORT = [part for key in ("epochs=1", "batch_size=512") for part in ("--set", f"training.{key}")]


def test_all_models_are_compared_by_the_configurations_that_are_a_model_s_own(data, tmp_path):
    printed = compare(data / "one", "--models", "all", "--out", tmp_path, *SHORT, "--set", "evaluation.bootstrap=0")
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert set(record) == {load_config(name).model.name for name in shipped_configs()}
    assert all(name in printed for name in record)
    assert all(found["peak_gb"] > 0 and found["seconds_per_epoch"] > 0 for name, found in record.items()
               if name != "popularity")  # fmt: skip
    page = (tmp_path / "comparison.md").read_text()
    assert "* smore: " in page
    assert f"{record['smore']['n_parameters']:,}" in page


def test_a_split_that_there_is_not_is_refused_with_those_there_are(data, tmp_path):
    with pytest.raises(InputError, match="--split is 'weekly', expected of given, random, time"):
        compare(data / "one", "--split", "random, weekly", "--out", tmp_path / "out")


def test_models_are_named_beside_configurations_and_in_their_order(data, tmp_path):
    compare(data / "one", "--models", "bpr, popularity", "--config", "lightgcn", "--out", tmp_path, *SHORT)
    assert list(json.loads((tmp_path / "comparison.json").read_text())) == ["bpr", "popularity", "lightgcn"]


def test_an_unknown_model_is_refused_with_the_known_ones_before_anything_is_written(data, tmp_path):
    with pytest.raises(InputError, match=r"'mmgcn' not found: .*alignrec, .*vbpr"):
        compare(data / "one", "--models", "bpr,mmgcn", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_that_a_model_lacks_are_named_before_the_first_run(tmp_path):
    topics_dataset(tmp_path / "texts", modalities=("text",))
    with pytest.raises(InputError, match="smore needs all of the features text, image; the data have text"):
        compare(tmp_path / "texts", "--models", "bpr,smore", "--out", tmp_path / "out", *SHORT)
    assert not (tmp_path / "out").exists()


def test_of_all_models_those_that_the_data_lack_features_for_are_left_out_and_said(tmp_path, capsys):
    topics_dataset(tmp_path / "texts", modalities=("text",))
    configs, options = ["smore", "popularity", "vbpr"], {"overrides": ("training.epochs=1",)}
    found = compare_runs([tmp_path / "texts"], configs, tmp_path / "out", optional=configs, **options)
    reason = "smore needs all of the features text, image; the data have text"
    assert f"texts: smore is left out: {reason}" in " ".join(capsys.readouterr().err.split())
    assert f"* smore on texts: {reason}" in (tmp_path / "out" / "comparison.md").read_text()
    assert list(json.loads((tmp_path / "out" / "comparison.json").read_text())) == ["popularity", "vbpr"]
    assert {(versus.cell.config, versus.baseline) for versus in found.tests} == {("vbpr", "popularity")}
    with pytest.raises(InputError, match="baseline 'smore' is none of the configurations popularity, vbpr"):
        compare_runs([tmp_path / "texts"], configs, tmp_path / "out", optional=configs, baseline="smore", **options)


def test_a_baseline_that_one_data_set_leaves_out_is_compared_with_on_the_others(data, tmp_path):
    topics_dataset(tmp_path / "texts", modalities=("text",))
    configs = ["smore", "popularity"]
    options = {"overrides": ("training.epochs=1",), "optional": configs, "baseline": "smore"}
    found = compare_runs([tmp_path / "texts", data / "one"], configs, tmp_path / "out", **options)
    assert {versus.cell for versus in found.tests} == {Cell("one", "popularity")}


def test_the_printed_tables_fit_into_a_hundred_columns(nested):
    console = Console(width=100, file=io.StringIO())
    found = nested[1]
    results = {Cell(f"{cell.data}-of-long-name", cell.config): {1: of[1]} for cell, of in found.results.items()}
    console.print(comparison_tables(results, found.metrics, title=found.title))
    _, accuracy, rest = re.split("─+\n", console.file.getvalue())
    for part, n_columns in ((accuracy, 8), (rest, 10)):
        rows = [line.split() for line in part.splitlines()[:4]]
        assert [(row[1], len(row)) for row in rows] == [(cell.config, n_columns) for cell in results]


def test_a_result_from_before_the_total_time_was_kept_is_shown_without_it(nested):
    runs = {
        cell: {seed: replace(run, seconds=None) for seed, run in of.items()} for cell, of in nested[1].results.items()
    }
    assert {row[-3] for row in rest_rows(runs)[1]} == {"-"}


def evaluate(*arguments) -> str:
    """The command's output; an InputError passes through."""
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["evaluate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluate_prints_and_writes_what_the_run_found(nested, tmp_path):
    run = nested[0] / "one" / "bpr" / "1"
    result = RunFolder(run).result()
    printed = evaluate(run, "--csv", tmp_path / "figures.csv", "--users", tmp_path / "users.csv")
    assert f"{result.test['recall@20']:.4f}" in printed
    assert f"{result.test_low['recall@20']:.4f}-{result.test_high['recall@20']:.4f}" in printed
    assert f"text_cosine {result.test['text_cosine']:.4f}" in printed
    table = pl.read_csv(tmp_path / "figures.csv")
    assert dict(table.select("figure", "value").rows()) == pytest.approx(result.test)
    assert dict(table.drop_nulls().select("figure", "high").rows()) == pytest.approx(result.test_high)
    users = pl.read_csv(tmp_path / "users.csv")
    assert users["user_id"][0] == "user 0"
    np.testing.assert_allclose(users["ndcg@10"], RunFolder(run).users()["ndcg@10"], rtol=1e-6)


def test_evaluate_takes_other_lengths_the_other_split_and_no_intervals(nested, tmp_path):
    run = nested[0] / "one" / "bpr" / "1"
    evaluate(run, "--split", "valid", "--ks", "20,3", "--bootstrap", 0, "--csv", tmp_path / "figures.parquet")
    table = pl.read_parquet(tmp_path / "figures.parquet")
    assert {name.partition("@")[2] for name in table["figure"] if "@" in name} == {"3", "20"}
    assert {name for name in table["figure"] if "@" not in name} == {"text_cosine", "image_cosine"}
    figures = dict(table.select("figure", "value").rows())
    assert figures["recall@20"] == pytest.approx(RunFolder(run).result().valid["recall@20"])
    assert table["low"].null_count() == len(table)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "train"], "split is 'train', expected valid or test"),
        (["--ks", "0,5"], r"list lengths are \(0, 5\), expected at least 1"),
        (["--ks", str(2**70)], r"expected at least 1 and less than 2\^31"),
        (["--ks", "many"], "--ks is 'many', expected whole numbers"),
        (["--csv", "figures.xlsx"], r"ends in '\.xlsx', expected \.csv or \.parquet"),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(nested, arguments, said):
    with pytest.raises(InputError, match=said):
        evaluate(nested[0] / "one" / "bpr" / "1", *arguments)


def test_evaluate_says_that_a_run_has_no_state_yet(nested, tmp_path):
    run = nested[0] / "one" / "bpr" / "1"
    (tmp_path / "config.toml").write_bytes((run / "config.toml").read_bytes())
    with pytest.raises(InputError, match=r"has no best\.pt: its training has not evaluated an epoch yet"):
        evaluate(tmp_path)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_run_can_have_is_refused(data, tmp_path, seed):
    with pytest.raises(InputError, match="expected numbers from 0 to 4294967295"):
        compare_runs([data / "one"], ["popularity"], tmp_path / "runs", seeds=(seed,))
    assert not (tmp_path / "runs").exists()
