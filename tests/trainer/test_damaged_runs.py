"""Damaged run folders and data end in one sentence and exit status 2, whatever reads them."""

import os
import random
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from worlds import topics_dataset

from index.cli import run_cli
from index.errors import InputError
from trainer.__main__ import app
from trainer.config import load_config
from trainer.fit import fit, make_model
from trainer.run_folder import RunFolder
from trainer.warm_start import WarmStart

QUICK = (
    "model.embedding_size=8",
    "training.epochs=2",
    "training.batch_size=4096",
    "evaluation.bootstrap=0",
    "training.checkpoint_every=1",
)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "24"))
FILES = ("best.pt", "last.pt", "config.toml", "run.json", "result.json", "metrics.jsonl", "users.parquet")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    fit(dataset, load_config("lightgcn", QUICK), RunFolder(path))
    return path


@pytest.fixture
def run(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def ended(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit status of a command of the trainer, and what it wrote to standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["trainer", *map(str, words)])
        try:
            run_cli(app)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
    return status, capfd.readouterr().err


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)


def test_a_flipped_bit_of_a_parameter_is_refused(run, capfd):
    file = run / "best.pt"
    rows = torch.load(file, weights_only=True)["model"]["user_embedding"].numpy().tobytes()
    flip(file, file.read_bytes().index(rows[:64]) + 7)
    for words in (("evaluate", run), ("export", run, "--registry", run / "bundles")):
        status, told = ended(capfd, *words)
        assert status == 2
        assert "best.pt cannot be read (the sum of " in told.splitlines()[-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\x80\x02N.", b"\x00" * 500, b"[" * 5_000],
    ids=["empty", "zip", "pickle", "0", "["],
)
@pytest.mark.parametrize("name", ["best.pt", "run.json", "result.json", "config.toml"])
def test_a_file_of_something_else_is_refused_by_its_name(run, capfd, name, content):
    (run / name).write_bytes(content)
    status, told = ended(capfd, "export", run, "--registry", run / "bundles")
    assert (status, "Traceback" in told) == (2, False) or (name, content) == ("config.toml", b"")
    assert status == 0 or name in told.splitlines()[-1]


@pytest.mark.parametrize("name", ["best.pt", "run.json", "result.json"])
def test_a_pipe_in_a_files_place_is_not_waited_for(run, capfd, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    status, told = ended(capfd, "export", run, "--registry", run / "bundles")
    assert status == 2
    assert name in told.splitlines()[-1] or name == "best.pt"


def test_a_checkpoint_of_another_model_is_refused_in_one_line(dataset, run, tmp_path, capfd):
    wider = RunFolder(tmp_path / "wider")
    config = load_config("lightgcn", (*QUICK, "model.embedding_size=16"))
    fit(dataset, config, wider)
    for name in ("best.pt", "last.pt"):
        shutil.copy(wider.path / name, run / name)
    (run / "result.json").unlink()
    overrides = [word for override in QUICK for word in ("--set", override)]
    for words in (("evaluate", run), ("fit", dataset.path, "--out", run, "--config", "lightgcn", *overrides)):
        status, told = ended(capfd, *words)
        assert status == 2
        assert "holds no state of this run's model" in told.splitlines()[-1]
    with pytest.raises(InputError, match="has no user_embedding that fits"):
        WarmStart(torch.load(wider.path / "best.pt", weights_only=True)["model"], *rows(dataset))(
            make_model(dataset, load_config("lightgcn", QUICK))
        )


def rows(dataset) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(dataset.n_users), torch.arange(dataset.n_items)


def test_whatever_is_damaged_no_command_ends_in_a_traceback(dataset, whole, tmp_path, capfd):
    rng = random.Random(3)
    data = Path(shutil.copytree(dataset.path, tmp_path / "data"))
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    told = (run / "run.json").read_text().replace(str(dataset.path.resolve()), str(data.resolve()))
    (run / "run.json").write_text(told)
    overrides = [word for override in QUICK for word in ("--set", override)]
    commands = (
        ("evaluate", run),
        ("export", run, "--registry", tmp_path / "bundles"),
        ("fit", data, "--out", run, "--config", "lightgcn", *overrides),
    )
    files = [*(run / name for name in FILES), *(path for path in data.rglob("*") if path.is_file())]
    outcomes = {0: 0, 2: 0}
    for _ in range(EXAMPLES):
        file, words = rng.choice(files), rng.choice(commands)
        shutil.copytree(run, tmp_path / "before")
        before = file.read_bytes()
        damaged = bytearray(before)
        if rng.random() < 0.5:
            del damaged[rng.randrange(len(damaged)) :]
        else:
            start = rng.randrange(len(damaged))
            damaged[start : start + 8] = rng.randbytes(len(damaged[start : start + 8]))
        file.write_bytes(damaged)
        if words[0] == "fit" and rng.random() < 0.7:
            (run / "result.json").unlink()  # so that it resumes
        status, told = ended(capfd, *words)
        assert status in outcomes, (file, words)
        assert "Traceback" not in told, (file, words)
        assert status == 0 or told.splitlines()[-1].startswith("error: "), (file, words, told)
        outcomes[status] += 1
        file.write_bytes(before)
        shutil.rmtree(run)
        (tmp_path / "before").rename(run)
        file.write_bytes(before)
    print(outcomes)
    assert outcomes[2] > EXAMPLES // 4


def test_a_damaged_study_is_refused_by_its_name(dataset, tmp_path, capfd):
    (tmp_path / "study.db").write_bytes(b"garbage" * 100)
    status, told = ended(capfd, "tune", dataset.path, "--config", "lightgcn", "--trials", 1, "--out", tmp_path)
    assert status == 2
    assert "study.db is no readable study (" in told.splitlines()[-1]


@pytest.mark.parametrize("damage", list(product(["retrain.json", "result.json"], [b"", b"[", b"{}", b"7", b"\xff"])))
def test_a_damaged_record_of_a_retraining_is_refused(dataset, tmp_path, capfd, monkeypatch, damage):
    name, content = damage
    monkeypatch.setattr("trainer.retrain._run_steps", lambda *_: pytest.fail("it was taken for a new one"))
    monkeypatch.setattr("trainer.retrain._record", lambda *_: {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "retrain.json").write_text('{"begun": "2026-01-01T00:00:00+00:00"}')
    (tmp_path / "out" / name).write_bytes(content)
    places = ("--events", tmp_path, "--registry", tmp_path, "--out", tmp_path / "out")
    status, told = ended(capfd, "retrain", dataset.path, *places)
    assert status == 2
    assert name in told.splitlines()[-1]
