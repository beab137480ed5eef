"""Whatever a person or a disk does to the files of a run ends in one sentence that says what to do."""

import shutil
from io import BytesIO

import numpy as np
import polars as pl
import pytest
import torch

from index.errors import InputError
from trainer.analyze.runs import open_runs
from trainer.config import load_config
from trainer.data import Recipe, Source, load_dataset
from trainer.evaluate_run import evaluate_run
from trainer.features import load_features
from trainer.fit import fit
from trainer.prepare import prepare_dataset
from trainer.run_folder import RunFolder

SETTINGS = ("training.epochs=1", "model.embedding_size=4", "device=cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    pairs = [(f"u{u}", f"i{(u + k) % 6}", k) for u in range(8) for k in range(3)]
    interactions = pl.DataFrame(pairs, schema=["user_id", "item_id", "split"], orient="row")
    items = pl.DataFrame({"item_id": [f"i{k}" for k in range(6)]})
    prepare_dataset(Source("small", interactions, items), folder / "data", Recipe(split="given"))
    fit(load_dataset(folder / "data"), load_config("lightgcn", SETTINGS), RunFolder(folder / "run"))
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def use(run):
    evaluate_run(run, "test")
    run.result()


def other_state():
    buffer = BytesIO()
    torch.save({"model": {"other": torch.ones(2)}}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("result.json", b"", r"result\.json is damaged: it is no JSON .*; remove it, and `fit` measures again"),
        ("result.json", b"{}", r"best_epoch is missing; valid is missing; test is missing; and 2 more"),
        ("result.json", b"[]", r"result\.json is damaged: expected an object"),
        ("result.json", b"\xff\xfe", r"result\.json is damaged: it is no JSON"),
        ("run.json", b'{"data": "x"}', r"run\.json is damaged: fingerprint is missing; .*fitted again"),
        ("run.json", None, r"run\.json cannot be read: No such file"),
        ("config.toml", b"seed = 1", r"config\.toml: model is missing; all keys"),
        ("config.toml", b"\xff", r"config\.toml is not valid TOML"),
        ("config.toml", b"[model]\nlayers = 2", r"config\.toml: model lacks 'name'"),
        ("config.toml", b"[model]\nname = 'x'", r"config\.toml: model: expected one of .*'bpr'.*, found 'x'"),
        ("best.pt", b"", r"best\.pt is damaged or of another model .*; fit again"),
        ("best.pt", b"PK\x03\x04 cut", r"best\.pt is damaged or of another model"),
        ("best.pt", other_state(), r"best\.pt is damaged or of another model"),
        ("best.pt", None, r"no best\.pt|cannot be read"),
    ],
)
def test_a_damaged_file_is_told_with_what_to_do(run, name, content, said):
    if content is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        use(run)


@pytest.mark.parametrize(("name", "read"), [("users.parquet", RunFolder.users), ("metrics.jsonl", None)])
def test_damaged_tables_are_told(run, name, read):
    (run.path / name).write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        read(run) if read else open_runs([run.path])


@pytest.mark.parametrize("damage", ["truncated", "header", "archive", "objects"])
def test_a_file_of_features_that_is_none_is_refused_whatever_its_parser_raises(tmp_path, damage):
    file = tmp_path / "text.npy"
    np.save(file, np.ones((3, 2), np.float32))
    whole = file.read_bytes()
    if damage == "archive":
        with file.open("wb") as out:
            np.savez(out, a=np.ones(3))
    elif damage == "objects":
        np.save(file, np.array([{}, None], dtype=object), allow_pickle=True)
    else:
        file.write_bytes(whole[:130] if damage == "truncated" else whole.replace(b"{'descr'", b"(((((((("))
    with pytest.raises(InputError, match=r"text\.npy (cannot be read: it is not a \.npy|is an archive)"):
        load_features(file)


def test_a_resumed_run_with_a_damaged_checkpoint_is_told(run, whole):
    (run.path / "result.json").unlink()
    (run.path / "last.pt").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"last\.pt is damaged .*; fit again in an empty folder"):
        fit(load_dataset(whole / "data"), load_config("lightgcn", SETTINGS), run)
