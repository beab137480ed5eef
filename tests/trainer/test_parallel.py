"""Two processes train as one does: share by share, epoch by epoch, after an error and after a kill."""

import json
import subprocess
from pathlib import Path

import forkserver
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from worlds import topics_dataset

from index.errors import InputError
from trainer.__main__ import app
from trainer.config import load_config
from trainer.data import Dataset
from trainer.fit import fit
from trainer.inputs import build_inputs
from trainer.model_settings import (
    AlignRecSettings,
    AnchorRecSettings,
    BM3Settings,
    BPRSettings,
    DAMRSSettings,
    FREEDOMSettings,
    LATTICESettings,
    LGMRecSettings,
    LightGCNSettings,
    ModelSettings,
    SASRecSettings,
    SMORESettings,
    VBPRSettings,
)
from trainer.models import RecommenderModel, build_model
from trainer.models.anchorease import AnchorEASE
from trainer.models.spectral import Iteration
from trainer.parallel import WHOLE, Share
from trainer.run_folder import RunFolder
from trainer.sampling import PairSampler

SMALL = ("model.embedding_size=16", "training.epochs=8", "training.batch_size=128", "training.learning_rate=0.01")
MODELS: dict[str, ModelSettings] = {
    "bpr": BPRSettings(embedding_size=8),
    "lightgcn": LightGCNSettings(embedding_size=8),
    "anchorrec": AnchorRecSettings(embedding_size=8),
    "anchorrec as released": AnchorRecSettings.model_validate({"variant": "official", "embedding_size": 8}),
    "anchorrec without modalities": AnchorRecSettings(embedding_size=8, modalities=()),
    "vbpr": VBPRSettings(embedding_size=8),
    "lattice": LATTICESettings(embedding_size=8),
    "freedom": FREEDOMSettings(embedding_size=8),
    "lgmrec": LGMRecSettings(embedding_size=8),
    "smore": SMORESettings(embedding_size=8),
    "bm3": BM3Settings(embedding_size=8),
    "damrs": DAMRSSettings(embedding_size=8),
    "alignrec": AlignRecSettings(embedding_size=8),
    "sasrec": SASRecSettings(embedding_size=8),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics", n_users=57)


def gradients(model: RecommenderModel) -> dict[str, torch.Tensor]:
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in model.named_parameters()}


@pytest.mark.parametrize("n_ranks", [2, 3, 7])
@pytest.mark.parametrize("name", MODELS)
def test_terms_and_gradients_of_all_shares_add_up_to_those_of_the_whole(dataset, name, n_ranks):
    train = dataset.split("train")
    batch = next(PairSampler(train.user_rows, train.item_rows, dataset.n_items, seed=0).epoch(0, 101))
    model = build_model(MODELS[name], build_inputs(dataset, MODELS[name], torch.device("cpu")), batch_size=128, seed=0)

    def computed(share: Share) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        model.zero_grad()
        torch.manual_seed(0)  # every rank draws the same noise
        model.begin_epoch()
        terms = model.loss_terms(*(torch.from_numpy(rows) for rows in batch), share=share)
        if terms:  # of few terms that cannot be split, some of many ranks have none
            sum(terms.values()).backward()
        return terms, gradients(model)

    whole_terms, whole_gradients = computed(WHOLE)
    parts = [computed(Share(rank, n_ranks)) for rank in range(n_ranks)]
    for term, whole in whole_terms.items():
        torch.testing.assert_close(sum(terms[term] for terms, _ in parts if term in terms), whole)
    for parameter, whole in whole_gradients.items():
        torch.testing.assert_close(sum(grads[parameter] for _, grads in parts), whole, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("n", "n_ranks"), [(2048, 2), (7, 3), (3, 3), (5, 4)])
def test_shares_have_every_row_once_and_none_is_empty(n, n_ranks):
    shares = [Share(rank, n_ranks) for rank in range(n_ranks)]
    assert [row for share in shares for row in range(n)[share.rows(n)]] == list(range(n))
    assert all(share.of_batch(n) == share for share in shares)
    assert sum(share.fraction(n) for share in shares) == pytest.approx(1)


def test_a_batch_of_fewer_examples_than_ranks_is_the_first_rank_s_alone():
    assert [Share(rank, 3).of_batch(2) for rank in range(3)] == [WHOLE, None, None]


# Real processes

CONFIGS = ("lightgcn", "anchorrec", "anchorrec-official")
# 456 pairs are five batches of 91 and one of a single example, which has nothing for the second rank.
ODD = (*SMALL, "training.batch_size=91")


LAUNCHED = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

def rank():
    from index.cli import run_cli
    from trainer.__main__ import app
    run_cli(app)

def doomed_rank():
    import os, signal
    from pathlib import Path
    from trainer import fit
    from trainer.run_folder import RunFolder
    step, run = fit._step, RunFolder(Path(sys.argv[sys.argv.index("--out") + 1]))
    def next_step(*arguments, **named):
        if os.environ["RANK"] == "1" and (run.path / "last.pt").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments, **named)
    fit._step = next_step
    rank()

def several():
    from pathlib import Path
    import trainer.fit
    from trainer.config import load_config
    from trainer.data import load_dataset
    from trainer.parallel import process_group
    from trainer.run_folder import RunFolder
    trainer.fit.plot_curves = lambda history, path: path.touch()
    from trainer.models.anchorease import AnchorEASE
    from trainer.models.spectral import Iteration
    AnchorEASE.iteration = Iteration(direct_up_to=0)
    data, out, names, *overrides = sys.argv[1:]
    with process_group("cpu") as share:
        for name in names.split(","):
            shipped, _, setting = name.partition(":")
            run, config = RunFolder(Path(out) / name), load_config(shipped, [*overrides, *filter(None, [setting])])
            dataset = trainer.fit.own_part(load_dataset(Path(data)), config, share)
            trainer.fit.fit(dataset, config, run, share=share)
            Path(out, f"{name}-held-by-{share.rank}.txt").write_text(str(len(dataset.interactions)))
    threads = sorted(task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").glob("*"))
    Path(out, f"threads-{share.rank}.txt").write_text("\\n".join(threads))

config = LaunchConfig(1, 1, 2, run_id="tests", rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork",
                      max_restarts=0)
elastic_launch(config, {"whole": rank, "doomed": doomed_rank, "several": several}[sys.argv.pop(1)])()
"""
"""What torchrun does to start two ranks, but by forks: that each imports torch is most of what torchrun takes.
Torchrun runs in the test of docs/training.md."""


def launched(how: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return forkserver.run("trainer", how, *arguments, code=LAUNCHED)


def fit_arguments(dataset: Dataset, run: Path, name: str, overrides: tuple[str, ...]) -> list[str]:
    sets = [part for override in overrides for part in ("--set", override)]
    return ["fit", str(dataset.path), "--config", name, "--out", str(run), *sets]


def history(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def best(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "best.pt", weights_only=True)["model"]
    return state


@pytest.fixture(scope="module")
def together(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    done = launched("several", dataset.path, folder, ",".join(CONFIGS), *ODD)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_learn_what_one_learns(dataset, together, tmp_path, name):
    alone = fit(dataset, load_config(name, ODD), RunFolder(tmp_path / "one"))
    for one, two in zip(history(tmp_path / "one"), history(together / name), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["terms"] == pytest.approx(one["terms"], rel=1e-4, abs=1e-7)
    result = RunFolder(together / name).result()
    assert result is not None
    assert result.best_epoch == alone.best_epoch
    assert result.test == pytest.approx(alone.test, abs=1e-6)
    learned = best(together / name)
    for parameter, value in best(tmp_path / "one").items():
        torch.testing.assert_close(learned[parameter], value, atol=1e-4, rtol=1e-4)
    files = [{file.name for file in folder.iterdir()} for folder in (tmp_path / "one", together / name)]
    assert files[0] == files[1]


@pytest.mark.parametrize("rank", [0, 1])
def test_no_thread_of_gloo_outlives_the_group(together, rank):
    threads = (together / f"threads-{rank}.txt").read_text().splitlines()
    assert "python" in " ".join(threads)
    assert not [name for name in threads if "gloo" in name]  # at exit one of them would abort now and then


def test_a_run_of_two_is_answered_by_one_that_finds_it_finished(dataset, together):
    result = RunFolder(together / "lightgcn").result()
    assert fit(dataset, load_config("lightgcn", ODD), RunFolder(together / "lightgcn")) == result


# Each rank with its own users

BY_USER = ("anchorease", "anchorease-sparse", "ease", "anchorease:model.exact_up_to=8")
"""By the exact inverse, without a filter, by one matrix, and by eigenpairs; AnchorEASE by iteration."""
OF_SOME = ("model.embedding_size=8", "evaluation.most_users=40")


@pytest.fixture(scope="module")
def by_user(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by-user")
    done = launched("several", dataset.path, folder, ",".join(BY_USER), *OF_SOME)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_figures(found: dict[str, float], expected: dict[str, float]) -> None:
    """Cosines are of each item's three nearest: of two that are equally near to rounding, either may be the third."""
    near = {name: value for name, value in expected.items() if "cosine" in name}
    assert {name: found[name] for name in near} == pytest.approx(near, abs=1e-3)
    rest = {name: value for name, value in expected.items() if name not in near}
    assert {name: value for name, value in found.items() if name not in near} == pytest.approx(rest, abs=1e-6)


@pytest.mark.parametrize("name", BY_USER)
def test_ranks_with_half_of_the_users_each_compute_what_one_process_computes(
    dataset, by_user, tmp_path, name, monkeypatch
):
    monkeypatch.setattr(AnchorEASE, "iteration", Iteration(direct_up_to=0))
    shipped, _, setting = name.partition(":")
    alone = fit(dataset, load_config(shipped, [*OF_SOME, *filter(None, [setting])]), RunFolder(tmp_path / "one"))
    together = RunFolder(by_user / name).result()
    assert together is not None
    for measured in ("valid", "test", "test_low"):
        assert_same_figures(getattr(together, measured), getattr(alone, measured))
    for split, served in alone.served.items():
        assert_same_figures(together.served[split], served)
    one, two = (scores_between_items(best(run)["_extra_state"]) for run in (tmp_path / "one", by_user / name))
    torch.testing.assert_close(two, one, atol=1e-4 * float(one.abs().max()), rtol=0)
    users = [pl.read_parquet(run / "users.parquet") for run in (tmp_path / "one", by_user / name)]
    assert_frame_equal(*users, abs_tol=1e-6)


def scores_between_items(solution: dict[str, torch.Tensor]) -> torch.Tensor:
    """What one past item says of all items: it depends on no rotation."""
    parts = [part for name, part in solution.items() if name.startswith(("part/", "item/"))]
    return solution["fold_in"] @ sum(parts).T


@pytest.mark.parametrize("name", BY_USER)
def test_each_of_two_ranks_holds_about_half_of_the_interactions(dataset, by_user, name):
    held = [int((by_user / f"{name}-held-by-{rank}.txt").read_text()) for rank in (0, 1)]
    assert sum(held) == len(dataset.interactions)
    assert min(held) > 0.4 * sum(held)


def test_wrong_input_ends_both_ranks_with_the_message_and_leaves_nothing_behind(dataset, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("dear")
    done = launched("whole", *fit_arguments(dataset, tmp_path / "letters", "lightgcn", SMALL))
    assert done.returncode != 0
    # torchrun ends the other rank as soon as one has failed: of rank 0 nothing may be printed by then.
    said = f"{tmp_path / 'letters'} is not empty and not a run folder"
    assert f"error: {said}" in done.stderr or f"error: rank 1: {said}" in done.stderr
    assert [file.name for file in (tmp_path / "letters").iterdir()] == ["to-mother.txt"]


def test_a_rank_that_is_killed_ends_the_run_which_then_resumes_to_what_it_would_have_been(dataset, tmp_path):
    settings = (*SMALL, "training.checkpoint_every=2")
    arguments = fit_arguments(dataset, tmp_path / "killed", "lightgcn", settings)
    assert launched("doomed", *arguments).returncode != 0
    assert (tmp_path / "killed" / "last.pt").exists()
    assert RunFolder(tmp_path / "killed").result() is None
    done = launched("whole", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("full ranking") == 1
    fit(dataset, load_config("lightgcn", settings), RunFolder(tmp_path / "unbroken"))
    losses = [[record["loss"] for record in history(tmp_path / run)] for run in ("killed", "unbroken")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_command_that_would_do_everything_twice_is_refused_under_torchrun(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match="only `fit` shares its work"):
        app(["compare", str(dataset.path), "--out", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()
