"""The loop: it learns, it repeats itself to the bit, it resumes, and it chooses on validation."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from killed import killed_after_checkpoints
from PIL import Image
from worlds import topics_dataset

from index.errors import InputError
from trainer.config import RunConfig, load_config, shipped_configs
from trainer.fit import fit, make_model
from trainer.run_folder import RunFolder

SMALL = ("model.embedding_size=16", "training.epochs=12", "training.batch_size=128", "training.learning_rate=0.01")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


def small(name: str, *overrides: str) -> RunConfig:
    return load_config(name, (*SMALL, *overrides))


def trained(dataset, config, path) -> dict[str, torch.Tensor]:
    fit(dataset, config, RunFolder(path))
    model = make_model(dataset, config)
    RunFolder(path).load_best(model)
    return dict(model.state_dict())


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def floor(dataset, tmp_path_factory):
    return fit(dataset, load_config("popularity"), RunFolder(tmp_path_factory.mktemp("popularity") / "run"))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in shipped_configs()
        if not name.startswith("popularity") and name not in ("anchorrec-official", "anchorease-sparse", "vsknn")
    ],
)
def test_training_beats_popularity_by_a_wide_margin(dataset, floor, tmp_path, name):
    result = fit(dataset, small(name, "training.epochs=40"), RunFolder(tmp_path / name))
    assert result.test["recall@5"] > 2 * floor.test["recall@5"]


@pytest.mark.parametrize("name", ["lightgcn", "anchorrec", "freedom", "lattice", "lgmrec", "smore", "bm3"])
def test_two_runs_of_one_seed_agree_to_the_bit_and_another_seed_does_not(dataset, tmp_path, name):
    config = small(name, "training.epochs=4")
    one, two = (trained(dataset, config, tmp_path / run) for run in ("one", "two"))
    other = trained(dataset, small(name, "training.epochs=4", "seed=5"), tmp_path / "other")
    assert same(one, two)
    assert not same(one, other)


def test_the_best_epoch_by_validation_is_the_one_that_is_kept(dataset, tmp_path):
    result = fit(dataset, small("anchorrec"), RunFolder(tmp_path / "run"))
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = [record["recall@20"] for record in history]
    assert result.best_epoch == int(np.argmax(scores))
    assert result.valid["recall@20"] == pytest.approx(max(scores))


def test_training_stops_when_patience_is_used_up(dataset, tmp_path):
    config = small("bpr", "training.epochs=500", "training.patience=3", "training.learning_rate=0.05")
    result = fit(dataset, config, RunFolder(tmp_path / "run"))
    history = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(history) == result.best_epoch + 1 + 4
    assert len(history) < 500


def test_the_learning_rate_decays_smoothly_by_its_fractional_exponent(dataset, tmp_path, monkeypatch):
    seen = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (seen.append(self.param_groups[0]["lr"]), step(self)))
    config = small("bpr", "training.epochs=3", "training.decay=0.5", "training.decay_epochs=2", "training.patience=9")
    fit(dataset, config, RunFolder(tmp_path / "run"))
    assert sorted(set(seen), reverse=True) == pytest.approx([0.01, 0.01 * 0.5**0.5, 0.005])


def test_a_run_folder_tells_the_whole_story(dataset, tmp_path, drawn):
    config = small("anchorrec", "training.epochs=3")
    fit(dataset, config, RunFolder(tmp_path / "run"))
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert files >= {"config.toml", "run.json", "metrics.jsonl", "best.pt", "result.json", "curves.png"}
    assert load_config(str(tmp_path / "run" / "config.toml")) == config
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert record["loss"] == pytest.approx(sum(record["terms"].values()))
    assert {"bpr", "user_item", "l2", "aal_id", "aal_mixture", "amp_text"} <= record["terms"].keys()
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.size == (1210, 440)


def test_a_finished_run_is_not_run_again(dataset, tmp_path):
    config = small("bpr")
    first = fit(dataset, config, RunFolder(tmp_path / "run"))
    before = (tmp_path / "run" / "best.pt").stat().st_mtime_ns
    assert fit(dataset, config, RunFolder(tmp_path / "run")) == first
    assert (tmp_path / "run" / "best.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["anchorrec", "freedom", "lattice"])
def test_a_run_that_was_killed_resumes_and_ends_where_the_unbroken_one_ends(dataset, tmp_path, name):
    overrides = (*SMALL, "training.patience=80", "training.checkpoint_every=3")
    unbroken = trained(dataset, load_config(name, overrides), tmp_path / "unbroken")
    sets = [part for override in overrides for part in ("--set", override)]
    killed_after_checkpoints(2, "fit", dataset.path, "--out", tmp_path / "killed", *sets, "--config", name)
    assert (tmp_path / "killed" / "last.pt").exists()
    assert RunFolder(tmp_path / "killed").result() is None
    resumed = trained(dataset, load_config(name, overrides), tmp_path / "killed")
    assert same(resumed, unbroken)
    lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("unbroken", "killed")]
    assert [json.loads(a)["loss"] for a in lines[0]] == [json.loads(b)["loss"] for b in lines[1]]


class Killed(BaseException):
    """What nothing catches, as nothing catches kill -9."""


def test_a_run_killed_at_any_write_resumes_to_the_same_bits(dataset, tmp_path, monkeypatch):
    config = small("bpr", "training.epochs=3", "training.checkpoint_every=2", "evaluation.bootstrap=0")
    writes = []
    replace = os.replace

    def killed(source, target):
        writes.append(target)
        if len(writes) == fatal:
            shutil.copy(source, f"{source}-left")  # the caller tidies up, as a killed process cannot
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    fatal = 0
    unbroken = trained(dataset, config, tmp_path / "unbroken")
    measured = RunFolder(tmp_path / "unbroken").result()
    n_writes = len(writes)
    assert n_writes >= 8
    for fatal in range(1, n_writes + 1):
        writes.clear()
        with pytest.raises(Killed):
            fit(dataset, config, RunFolder(tmp_path / str(fatal)))
        writes.extend([""] * n_writes)
        assert same(trained(dataset, config, tmp_path / str(fatal)), unbroken), fatal
        resumed = RunFolder(tmp_path / str(fatal)).result()
        assert (resumed.test, resumed.best_epoch) == (measured.test, measured.best_epoch)


def test_the_time_of_a_solution_counts_what_was_done_before_an_interruption(dataset, tmp_path, monkeypatch):
    now = [0.0]

    def solve(model, work):
        now[0] += 100 if not work.load() else 7
        if not work.load():
            work.save({"half": torch.ones(1)})
            raise KeyboardInterrupt
        return {"items": torch.ones(dataset.n_items, 1)}

    monkeypatch.setattr("trainer.fit.perf_counter", lambda: now[0])
    monkeypatch.setattr("trainer.models.popularity.Popularity.solve", solve)
    with pytest.raises(KeyboardInterrupt):
        fit(dataset, load_config("popularity"), RunFolder(tmp_path / "run"))
    assert fit(dataset, load_config("popularity"), RunFolder(tmp_path / "run")).seconds == 107


def test_the_time_of_epochs_adds_up_with_that_of_the_model_s_graphs(dataset, tmp_path):
    result = fit(dataset, small("lightgcn", "training.epochs=3"), RunFolder(tmp_path / "run"))
    epochs = sum(record["seconds"] for record in RunFolder(tmp_path / "run").history())
    assert epochs < result.seconds < epochs + 60


def test_a_folder_of_another_configuration_is_refused_with_the_first_difference(dataset, tmp_path):
    fit(dataset, small("bpr"), RunFolder(tmp_path / "run"))
    with pytest.raises(InputError, match=r"model\.reg_weight is 0\.01 there, 0\.5 here"):
        fit(dataset, small("bpr", "model.reg_weight=0.5"), RunFolder(tmp_path / "run"))


def test_a_folder_of_other_data_is_refused(dataset, tmp_path):
    fit(dataset, small("bpr"), RunFolder(tmp_path / "run"))
    other = topics_dataset(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="holds a run on data"):
        fit(other, small("bpr"), RunFolder(tmp_path / "run"))


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(dataset, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("dear")
    with pytest.raises(InputError, match="not a run folder"):
        fit(dataset, small("bpr"), RunFolder(tmp_path / "letters"))
    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["to-mother.txt"]


def test_a_folder_that_a_killed_run_had_just_begun_is_taken_up(dataset, tmp_path):
    RunFolder(tmp_path / "run").claim(small("bpr"), dataset)
    (tmp_path / "run" / "config.toml").rename(tmp_path / "run" / ".writing-config.toml-1")
    assert fit(dataset, small("bpr"), RunFolder(tmp_path / "run")).best_epoch >= 0


def test_a_diverging_loss_stops_with_the_epoch_and_the_terms(dataset, tmp_path):
    with pytest.raises(InputError, match=r"in epoch \d+ .*lower training\.learning_rate"):
        fit(dataset, small("anchorrec", "training.learning_rate=1e30"), RunFolder(tmp_path / "run"))


def test_asking_for_an_absent_gpu_is_an_error(dataset, tmp_path):
    if torch.cuda.is_available():
        assert make_model(dataset, small("bpr", "device=cuda")) is not None
        return
    with pytest.raises(InputError, match="no CUDA device"):
        fit(dataset, small("bpr", "device=cuda"), RunFolder(tmp_path / "run"))


@pytest.mark.parametrize("name", ["anchorrec", "anchorrec-official"])
def test_bfloat16_products_learn_nearly_the_same_and_leave_float32_parameters(dataset, tmp_path, name):
    rounded, exact = (
        trained(dataset, small(name, "training.epochs=6", f"training.precision={precision}"), tmp_path / precision)
        for precision in ("bfloat16", "float32")
    )
    assert not same(rounded, exact)
    assert all(value.dtype == torch.float32 for value in rounded.values())
    histories = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("bfloat16", "float32")]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in histories]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("name", ["lightgcn", "anchorrec"])
def test_compiled_steps_learn_the_same(dataset, tmp_path, monkeypatch, name):
    # All of torch.compile but the generation of C++, which takes minutes.
    traced = []
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend=lambda graph, _: traced.append(graph) or graph)
    )
    plain, compiled = (
        trained(dataset, small(name, "training.epochs=2", f"training.compile={wanted}"), tmp_path / wanted)
        for wanted in ("false", "true")
    )
    assert traced
    for parameter, value in plain.items():
        torch.testing.assert_close(compiled[parameter], value, atol=1e-5, rtol=1e-4)


def test_compiled_steps_without_a_compiler_are_refused(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler"):
        fit(dataset, small("bpr", "training.compile=true"), RunFolder(tmp_path / "run"))


@pytest.mark.parametrize("modality", ["text", "image", "multimodal"])
def test_a_data_set_without_a_modality_trains_on_the_others(tmp_path, modality):
    kept = tuple(name for name in ("text", "image", "multimodal") if name != modality)
    dataset = topics_dataset(tmp_path / "data", modalities=kept)
    result = fit(dataset, small("anchorrec", "training.epochs=2"), RunFolder(tmp_path / "run"))
    assert 0 <= result.test["recall@20"] <= 1
    shutil.rmtree(tmp_path / "data")
