"""The search: it picks what validation prefers, covers what it should, survives kill -9, and is blind to test."""

import csv
import dataclasses
import io
import itertools
import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from killed import killed_after_checkpoints
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner
from worlds import topics_dataset

from index.errors import InputError
from index.storage import locked
from trainer.__main__ import app
from trainer.config import load_config, shipped_names
from trainer.fit import fit
from trainer.run_folder import RunFolder
from trainer.tune.command import fit_best, seconds_left, tune
from trainer.tune.space import SPACE_FOLDER, SearchSpace, configured, read_space
from trainer.tune.study import MAX_ATTEMPTS, TuningPlan, counted_trials, open_study, run_trials

PAGE = Path(__file__).parents[2] / "docs" / "tuning.md"
SMALL = ("model.embedding_size=8", "training.epochs=3", "training.batch_size=128")
RATES = "training.learning_rate = [1e-6, 0.02]"
SCORES = "trial", "state", "recall@20", "epochs", "training.learning_rate"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return topics_dataset(tmp_path_factory.mktemp("data") / "topics")


@pytest.fixture
def space_of(tmp_path):
    def written(text: str) -> SearchSpace:
        (tmp_path / "space.toml").write_text(text)
        return read_space(str(tmp_path / "space.toml"))

    return written


def quiet() -> Console:
    return Console(file=io.StringIO())


def rows_of(folder: Path, *columns: str) -> list[tuple[str, ...]]:
    with (folder / "trials.csv").open() as file:
        return [tuple(row[column] for column in columns) for row in csv.DictReader(file)]


def story(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.state, trial.value, trial.intermediate_values


# The search itself


def test_of_two_values_the_one_that_validates_better_is_chosen(dataset, space_of, tmp_path):
    search = TuningPlan("bpr", space_of(RATES), (*SMALL, "training.epochs=10"), sampler="grid")
    tune(dataset, search, tmp_path / "study", console=quiet())
    best = load_config(str(tmp_path / "study" / "best.toml"))
    assert best == load_config("bpr", (*search.overrides, "training.learning_rate=0.02"))


def test_a_trial_scores_what_a_run_of_its_settings_scores(dataset, space_of, tmp_path):
    search = TuningPlan("bpr", space_of(RATES), SMALL, sampler="grid")
    study = tune(dataset, search, tmp_path / "study", console=quiet())
    for trial in study.trials:
        result = fit(dataset, search.configured(trial.params), RunFolder(tmp_path / str(trial.number)))
        assert trial.value == result.valid["recall@20"]
        assert trial.user_attrs["best_epoch"] == result.best_epoch


def test_the_study_is_blind_to_the_test_split(dataset, space_of, tmp_path):
    is_test = dataset.interactions.splits == 2
    rows = dataset.interactions.item_rows.copy()
    rows[is_test] = rows[is_test][::-1]
    other = dataclasses.replace(dataset, interactions=dataclasses.replace(dataset.interactions, item_rows=rows))
    found = []
    for name, data in (("one", dataset), ("two", other)):
        tune(data, TuningPlan("bpr", space_of(RATES), SMALL, sampler="grid"), tmp_path / name, console=quiet())
        found.append(rows_of(tmp_path / name, *SCORES))
        results = [json.loads(file.read_text()) for file in (tmp_path / name / "trials").glob("*/result.json")]
        assert [result["test"] for result in results] == [{}, {}]
    assert found[0] == found[1]


def test_the_best_settings_are_fitted_and_only_then_measured_on_test(dataset, tmp_path):
    worse, better = (load_config("bpr", (*SMALL, f"training.learning_rate={rate}")) for rate in ("1e-6", "0.02"))
    first = fit_best(dataset, worse, tmp_path / "best")
    assert first.test["recall@20"] > 0
    assert fit_best(dataset, worse, tmp_path / "best") == first
    fit_best(dataset, better, tmp_path / "best")
    assert RunFolder(tmp_path / "best").config() == better


def test_a_grid_covers_each_point_exactly_once_however_often_it_is_called(dataset, space_of, tmp_path):
    space = space_of(
        "training.learning_rate = [0.001, 0.01]\nmodel.reg_weight = [0.0, 0.1]\nseed = {low = 1, high = 2}"
    )
    for trials in (3, None, None):
        search = TuningPlan("bpr", space, (*SMALL, "training.epochs=1"), sampler="grid", trials=trials)
        tune(dataset, search, tmp_path / "study", console=quiet())
    points = rows_of(tmp_path / "study", *space.distributions)
    assert sorted(points) == sorted(itertools.product(["0.001", "0.01"], ["0.0", "0.1"], ["1", "2"]))


def test_starting_points_are_tried_first_and_once_and_a_study_can_be_given_more_of_them(dataset, space_of, tmp_path):
    space = space_of("training.learning_rate = { low = 1e-3, high = 1e-2 }\nmodel.reg_weight = [0.0, 0.01]")
    starts = tuple(space.point_in(load_config("bpr", (f"training.learning_rate={r}",)), "mine") for r in (0.004, 0.002))
    for trials, points in ((3, starts[:1]), (5, starts)):
        search = TuningPlan("bpr", space, (*SMALL, "training.epochs=1"), trials=trials, starts=points)
        tune(dataset, search, tmp_path / "study", console=quiet())
    rates = [rate for (rate,) in rows_of(tmp_path / "study", "training.learning_rate")]
    assert (rates[0], rates[3]) == ("0.004", "0.002")
    assert len(set(rates)) == 5


def test_a_starting_point_on_the_grid_is_not_tried_twice(dataset, space_of, tmp_path):
    space = space_of("model.reg_weight = [0.0, 0.1, 0.01]")
    start = space.point_in(load_config("bpr"), "bpr")
    search = TuningPlan("bpr", space, (*SMALL, "training.epochs=1"), sampler="grid", starts=(start,))
    tune(dataset, search, tmp_path / "study", console=quiet())
    assert [weight for (weight,) in rows_of(tmp_path / "study", "model.reg_weight")] == ["0.01", "0.0", "0.1"]


@pytest.mark.parametrize(
    ("searched", "said"),
    [
        ("model.k = [10, 20]", "model.k is 5 there, outside"),
        ("model.n_layers = { low = 3, high = 4 }", "model.n_layers is 2 there, outside"),
        ('model.modalities = [["text"], ["image"]]', "model.modalities is .* there, outside"),
        ("model.reg_weight = [0.0]", "model.reg_weight is null there, outside"),
    ],
)
def test_a_starting_point_outside_the_space_is_refused_with_the_setting(space_of, searched, said):
    with pytest.raises(InputError, match=f"mine cannot start the search: {said}"):
        space_of(searched).point_in(load_config("anchorrec", ("model.k=5",)), "mine")


def test_a_list_as_a_setting_can_be_started_from(space_of):
    space = space_of('model.modalities = [["text"], ["multimodal", "text", "image"]]')
    assert space.point_in(load_config("anchorrec"), "anchorrec") == {
        "model.modalities": '["multimodal", "text", "image"]'
    }


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_in_two_calls_is_the_study_of_one_call(dataset, tmp_path, sampler):
    def searched(folder: str, *calls: int) -> list[tuple[str, ...]]:
        for trials in calls:
            search = TuningPlan("bpr", read_space("bpr"), (*SMALL, "training.epochs=1"), sampler, trials=trials, seed=3)
            tune(dataset, search, tmp_path / folder, console=quiet())
        return rows_of(tmp_path / folder, *SCORES, "model.reg_weight")

    unbroken = searched("unbroken", 5)
    assert searched("broken", 2, 5) == unbroken
    assert len(set(unbroken)) == 5


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_killed_study_takes_up_its_trial_again_and_ends_where_the_unbroken_one_ends(
    dataset, space_of, tmp_path, sampler
):
    space = space_of("training.learning_rate = [0.001, 0.01]")
    overrides = (*SMALL, "training.epochs=6", "training.patience=16", "training.checkpoint_every=2")
    search = TuningPlan("bpr", space, overrides, sampler, trials=2)
    tune(dataset, search, tmp_path / "unbroken", console=quiet())
    sets = [part for override in overrides for part in ("--set", override)]
    command = ["tune", str(dataset.path), "--config", "bpr", "--space", space.source, *sets, "--sampler", sampler]
    command += ["--trials", "2", "--no-final", "--validation", "given", "--out", str(tmp_path / "killed")]
    killed_after_checkpoints(1, *command)
    assert (tmp_path / "killed" / "trials" / "0000" / "last.pt").exists()
    tune(dataset, search, tmp_path / "killed", console=quiet())
    ended, unbroken = (counted_trials(open_study(tmp_path / name, search, dataset)) for name in ("killed", "unbroken"))
    assert {str(trial.params): story(trial) for trial in ended} == {
        str(trial.params): story(trial) for trial in unbroken
    }
    assert [state for (state,) in rows_of(tmp_path / "killed", "state")] == ["killed", *["complete"] * 2]


def test_a_trial_that_is_killed_again_and_again_is_given_up(dataset, space_of, tmp_path):
    search = TuningPlan("bpr", space_of(RATES), SMALL, sampler="random", timeout=0)
    study = open_study(tmp_path / "study", search, dataset)
    for _ in range(MAX_ATTEMPTS):
        study.ask(dict(search.space.distributions))  # begun and never told: its process is gone
        run_trials(study, search, dataset, tmp_path / "study", after_each=print)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * MAX_ATTEMPTS
    assert len({str(trial.params) for trial in study.trials}) == 1
    assert len(counted_trials(study)) == 1


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_hopeless_trials_are_pruned_and_recorded_and_never_chosen(dataset, space_of, tmp_path, pruner):
    space = space_of("training.learning_rate = [0.02, 0.021, 0.022, 0.023, 0.024, 1e-7, 2e-7, 3e-7]")
    search = TuningPlan("bpr", space, (*SMALL, "training.epochs=9", "training.patience=9"), "grid", pruner)
    study = tune(dataset, search, tmp_path / "study", console=quiet())
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert [trial for trial in pruned if trial.params["training.learning_rate"] < 1e-6]
    rows = rows_of(tmp_path / "study", *SCORES)
    for trial in pruned:
        number, state, score, epochs, _ = rows[trial.number]
        assert (int(number), state) == (trial.number, "pruned")
        assert float(score) == max(trial.intermediate_values.values())
        assert int(epochs) == len(trial.intermediate_values) < 9
    assert load_config(str(tmp_path / "study" / "best.toml")).training.learning_rate > 1e-6


def test_a_trial_whose_loss_is_not_finite_is_recorded_with_the_reason_and_the_search_goes_on(
    dataset, space_of, tmp_path
):
    search = TuningPlan("anchorrec", space_of("training.learning_rate = [1e30, 0.01]"), SMALL, "grid")
    tune(dataset, search, tmp_path / "study", console=quiet())
    first, second = rows_of(tmp_path / "study", "state", "reason")
    assert first[0] == "fail"
    assert "the loss is" in first[1]
    assert second == ("complete", "")


def test_a_search_in_which_nothing_finishes_is_an_error_with_the_first_reason(dataset, space_of, tmp_path):
    search = TuningPlan("anchorrec", space_of("training.learning_rate = [1e30]"), SMALL, "grid")
    with pytest.raises(InputError, match="none of 1 trials finished; the first failed: the loss is"):
        tune(dataset, search, tmp_path / "study", console=quiet())


def test_no_trial_begins_after_the_timeout(dataset, space_of, tmp_path):
    search = TuningPlan("bpr", space_of("seed = {low = 1, high = 9}"), SMALL, "random", timeout=25)
    study = open_study(tmp_path / "study", search, dataset)
    ticks = itertools.count(step=10)  # a trial takes ten seconds
    ended = []
    run_trials(study, search, dataset, tmp_path, after_each=ended.append, clock=lambda: next(ticks))
    assert len(ended) == 2


def test_every_report_is_there_and_no_checkpoint_is_left(dataset, space_of, tmp_path, drawn):
    space = space_of(
        'training.learning_rate = {low = 0.001, high = 0.1, scale = "log"}\nmodel.k = {low = 2, high = 4}\n'
        'model.modalities = [["text"], ["text", "image"]]\nmodel.feature_scaling = ["none", "unit"]'
    )
    search = TuningPlan("anchorrec", space, (*SMALL, "training.epochs=1"), trials=4)
    console = quiet()
    tune(dataset, search, tmp_path / "study", console=console)
    with Image.open(tmp_path / "study" / "study.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1540
    assert not list((tmp_path / "study").rglob("*.pt"))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    best = max(float(score) for (score,) in rows_of(tmp_path / "study", "recall@20"))
    assert f"best {best:.4f} of trial" in lines[-1]


# What is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model.reg_wieght = [0.1]", r"unknown key model\.reg_wieght \(did you mean 'reg_weight'\?\)"),
        ("trainning.epochs = [1]", "unknown key trainning"),
        ("model.reg_weight = [0.1, -1.0]", r"model\.reg_weight: .*, found -1\.0"),
        ("model.reg_weight = {low = -1.0, high = 1.0}", r"model\.reg_weight"),
        ("training.patience = {low = 4.0, high = 8.0}", r"training\.patience: .*integer"),
        ("training.epochs = [3, 4]", r"training\.epochs is both fixed by --set and searched by"),
    ],
)
def test_a_space_that_the_configuration_cannot_take_is_refused_before_anything_is_written(
    dataset, space_of, tmp_path, text, said
):
    with pytest.raises(InputError, match=said):
        tune(dataset, TuningPlan("bpr", space_of(text), SMALL), tmp_path / "study", console=quiet())
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model.k = {low = 1, high = 3, scael = 'log'}", r"model\.k\.scael is no known field; expected a list"),
        ("model.k = {low = 1}", r"model\.k\.high is missing; expected a list of values, or a range"),
        ("model.k = {low = 3, high = 1}", "low must be below high and both finite, found 3 and 1"),
        ("model.k = {low = 0, high = 1, scale = 'log'}", "low must be above 0 on a log scale"),
        ("model.l2_weight = {low = 0.0, high = inf}", "both finite, found 0.0 and inf"),
        ("model.k = 3", r"model\.k is 3; expected a list"),
        ("model.k = []", r"model\.k is \[\]; expected a list"),
        ("model.k = [3, 3]", r"model\.k lists a value twice"),
        ("model.k = [2020-01-01]", r"no setting has values of that kind"),
        ("model = {}", "names no setting"),
        ("model = [", "not valid TOML"),
    ],
)
def test_a_space_that_says_something_else_than_lists_and_ranges_is_refused(space_of, text, said):
    with pytest.raises(InputError, match=said):
        space_of(text)


def test_a_space_that_is_not_there_is_refused_with_those_that_ship():
    with pytest.raises(InputError, match=r"space 'nowhere' not found.*anchorrec.*sensitivity-aal"):
        read_space("nowhere")


def test_a_grid_over_a_range_of_reals_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match=r"a grid needs a list of values for training\.learning_rate"):
        tune(dataset, TuningPlan("bpr", read_space("bpr"), SMALL, "grid"), tmp_path / "study", console=quiet())
    assert not (tmp_path / "study").exists()


def test_a_folder_of_another_study_is_refused_with_what_differs(dataset, space_of, tmp_path):
    open_study(tmp_path / "study", TuningPlan("bpr", space_of(RATES), SMALL), dataset)
    with pytest.raises(InputError, match="of another configuration: found 'seed = 999', expected 'seed = 4'"):
        open_study(tmp_path / "study", TuningPlan("bpr", space_of(RATES), (*SMALL, "seed=4")), dataset)
    with pytest.raises(InputError, match="of another space"):
        open_study(tmp_path / "study", TuningPlan("bpr", space_of("seed = [1]"), SMALL), dataset)
    other = topics_dataset(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="of another data"):
        open_study(tmp_path / "study", TuningPlan("bpr", space_of(RATES), SMALL), other)


def test_a_folder_is_no_part_of_a_url(dataset, space_of, tmp_path):
    open_study(tmp_path / "a?b%41#c", TuningPlan("bpr", space_of(RATES), SMALL), dataset)
    assert [path.name for path in (tmp_path / "a?b%41#c").iterdir()] == ["study.db"]


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(dataset, space_of, tmp_path):
    with pytest.raises(InputError, match="holds no study"):
        tune(dataset, TuningPlan("bpr", space_of(RATES), SMALL), tmp_path, console=quiet())
    assert [file.name for file in tmp_path.iterdir()] == ["space.toml"]


def test_two_processes_do_not_tune_in_one_folder(dataset, space_of, tmp_path):
    search = TuningPlan("bpr", space_of(RATES), SMALL, "grid")
    open_study(tmp_path / "study", search, dataset)
    with locked(tmp_path / "study"), pytest.raises(InputError, match="another process is tuning in"):
        tune(dataset, search, tmp_path / "study", console=quiet())


# Spaces


@pytest.mark.parametrize("name", shipped_names(SPACE_FOLDER))
def test_every_shipped_space_fits_its_configuration(name):
    config = "anchorrec" if name.startswith("sensitivity-") else name
    read_space(name).check(config, ())


@pytest.mark.parametrize(
    ("name", "n_points"), [("vbpr", 7), ("lattice", 16), ("freedom", 8), ("smore", 128), ("bm3", 8), ("alignrec", 175)]
)
def test_a_published_grid_has_as_many_points_as_was_published(name, n_points):
    assert len(read_space(name).points()) == n_points


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_has_every_combination_once(sizes):
    settings = ("model.k", "model.n_layers", "seed", "training.batch_size")
    lists = {
        name: [10 * (place + 1) + i for i in range(size)]
        for place, (name, size) in enumerate(zip(settings, sizes, strict=False))
    }
    points = SearchSpace("-", {name: CategoricalDistribution(values) for name, values in lists.items()}).points()
    assert [tuple(point.values()) for point in points] == list(itertools.product(*lists.values()))


@given(
    rate=st.floats(1e-9, 10.0),
    size=st.integers(1, 999),
    scaling=st.sampled_from(["none", "unit"]),
    modalities=st.permutations(["text", "image", "multimodal"]),
)
def test_the_values_of_a_trial_arrive_in_the_configuration_to_the_bit(rate, size, scaling, modalities):
    values = {
        "training.learning_rate": rate,
        "model.embedding_size": size,
        "model.feature_scaling": scaling,
        "model.modalities": json.dumps(modalities),
        "model.distinct_items": False,
    }
    config = configured("anchorrec", ("model.fusion.text=0.5",), values)
    assert config.training.learning_rate == rate
    assert (config.model.embedding_size, config.model.feature_scaling) == (size, scaling)
    assert config.model.modalities == tuple(modalities)
    assert (config.model.distinct_items, config.model.fusion.text) == (False, 0.5)


# The command


def test_the_documented_commands_work_as_they_stand(tmp_path, monkeypatch):
    topics_dataset(tmp_path / "data" / "shop")
    page = PAGE.read_text(encoding="utf-8")
    (tmp_path / "my-space.toml").write_text(page.split("```toml\n")[1].partition("```")[0])
    (tmp_path / "my-best.toml").write_text('model.name = "anchorrec"\nmodel.k = 20\n')
    commands = "".join(block.partition("```")[0] for block in page.split("```sh\n")[1:]).splitlines()
    monkeypatch.chdir(tmp_path)
    for line in commands:
        words = shlex.split(line.removeprefix("python -m trainer "))
        quick = ["--trials", "2"] if words[0] == "tune" else []
        sets = [part for setting in (*SMALL, "training.epochs=1") for part in ("--set", setting)]
        found = CliRunner().invoke(app, [*words, *quick, *sets])
        assert found.exit_code == 0, (line, found.output, found.exception)
    assert {path.name for path in (tmp_path / "studies" / "anchorrec").iterdir()} == {
        "best", "best.toml", "study.db", "study.png", "trials", "trials.csv",
    }  # fmt: skip
    assert RunFolder(tmp_path / "studies" / "anchorrec" / "best").result().test
    assert not (tmp_path / "studies" / "temperature" / "best").exists()


def test_a_search_ends_by_its_trials_or_by_its_time_whichever_is_sooner():
    search = TuningPlan("lightgcn", read_space("lightgcn"), trials=30, timeout=100.0)
    assert seconds_left(search, done=2, before=10, seconds=4.0) == pytest.approx(36.0)
    assert seconds_left(search, done=1, before=0, seconds=40.0) == pytest.approx(60.0)
    assert seconds_left(search, done=3, before=0, seconds=120.0) == 0.0
