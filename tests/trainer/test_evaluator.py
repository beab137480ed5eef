"""Measuring a model on a data set: what is masked, which figures there are, and that all of them fit together."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from trainer.config import load_config
from trainer.data import Dataset, Recipe, Source, load_dataset
from trainer.evaluator import Evaluator, figure_names, per_user_names
from trainer.expressiveness import FIGURES
from trainer.models import Factors, RecommenderModel
from trainer.prepare import prepare_dataset

TRAIN, VALID, TEST = 0, 1, 2
# Of the items a, b, c, d ann has a | b | c and bob has a, c | b | d as train | valid | test.
ROWS = [
    *(("ann", "a", TRAIN), ("ann", "b", VALID), ("ann", "c", TEST)),
    *(("bob", "a", TRAIN), ("bob", "c", TRAIN), ("bob", "b", VALID), ("bob", "d", TEST)),
]


class Fixed(RecommenderModel):
    """Scores every user with the same score an item."""

    def __init__(self, n_users: int, scores: list[float]) -> None:
        super().__init__()
        self.users, self.items = torch.ones(n_users, 1), torch.tensor(scores)[:, None]

    def factors(self):
        return Factors(self.users, {"id": self.items}, self.users, self.items)


def prepared(folder: Path, rows: list[tuple[str, str, int]]) -> Dataset:
    users, items, splits = zip(*rows, strict=True)
    table = pl.DataFrame({"user_id": users, "item_id": items, "split": splits}, schema_overrides={"split": pl.Int8})
    source = Source("four", table, pl.DataFrame({"item_id": ["a", "b", "c", "d"]}), user_ids=["ann", "bob"])
    prepare_dataset(source, folder, Recipe(split="given"))
    return load_dataset(folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("data") / "four", ROWS)


def evaluator(dataset, *overrides):
    usual = ("evaluation.ks=[1,2]", "training.metric=recall@1", "evaluation.bootstrap=50")
    return Evaluator(dataset, load_config("popularity", (*usual, *overrides)))


# b before c before d before a: ann is shown b, c, d and bob b, d.
MODEL = Fixed(2, [1.0, 4.0, 3.0, 2.0])


def test_validation_items_compete_at_test_as_published(dataset):
    figures = evaluator(dataset).accuracy(MODEL, "test")
    assert (figures["recall@1"], figures["recall@2"], figures["mrr@2"]) == (0, 1, 0.5)


def test_validation_items_leave_the_test_lists_where_the_setting_masks_them(dataset):
    masking = evaluator(dataset, "evaluation.mask_valid_at_test=true")
    assert masking.accuracy(MODEL, "test")["recall@1"] == 1
    assert masking.evaluate(MODEL, "test").figures["recall@1"] == 1


def test_validation_is_never_masked_from_itself(dataset):
    for switch in ("true", "false"):
        figures = evaluator(dataset, f"evaluation.mask_valid_at_test={switch}").accuracy(MODEL, "valid")
        assert figures["recall@1"] == 1


def test_the_full_measurement_by_hand(dataset):
    measured = evaluator(dataset, "evaluation.cold_at_most=0", "evaluation.tail_share=0.4").evaluate(MODEL, "test")
    figures = measured.figures
    assert (figures["coverage@1"], figures["coverage@2"]) == (1 / 4, 3 / 4)
    assert figures["gini@1"] == pytest.approx(3 / 4)
    # Training knows a twice, c once, b and d never; those count as had by one of two users: one bit.
    assert figures["novelty@2"] == pytest.approx(1)
    # d alone is cold and held out, of bob; c, d and b are the tail.
    assert (figures["cold/recall@1"], figures["cold/recall@2"]) == (0, 1)
    assert figures["tail/recall@2"] == 1
    np.testing.assert_array_equal(measured.per_user["cold/recall@2"], [np.nan, 1])


def test_a_slice_that_holds_no_held_out_item_has_no_figure(tmp_path):
    known_items_only = prepared(tmp_path / "data", [row for row in ROWS if row != ("bob", "d", TEST)])
    measured = evaluator(known_items_only, "evaluation.cold_at_most=0").evaluate(MODEL, "test")
    assert measured.figures["recall@2"] == 1
    assert not any(name.startswith("cold") for table in (measured.figures, measured.low) for name in table)
    assert np.isnan(measured.per_user["cold/recall@2"]).all()


def test_both_ways_of_measuring_agree_and_names_are_those_that_are_announced(dataset):
    config = load_config("popularity", ("evaluation.ks=[1,2]", "training.metric=hit@3", "evaluation.cold_at_most=9"))
    measured = Evaluator(dataset, config).evaluate(MODEL, "test")
    cheap = Evaluator(dataset, config).accuracy(MODEL, "test")
    assert cheap.items() <= measured.figures.items()
    assert sorted(measured.figures) == sorted(set(figure_names(config)) - set(FIGURES))  # no features, no direction
    assert sorted(measured.per_user) == sorted(measured.low) == sorted(measured.high) == sorted(per_user_names(config))
    assert all(measured.low[name] <= measured.figures[name] <= measured.high[name] for name in measured.low)


def test_intervals_repeat_with_the_seed_and_are_left_out_on_demand(dataset):
    one, two = (evaluator(dataset).evaluate(MODEL, "test") for _ in range(2))
    assert (one.low, one.high) == (two.low, two.high)
    assert evaluator(dataset, "evaluation.bootstrap=0").evaluate(MODEL, "test").low == {}


def test_the_table_of_users_averages_to_the_figures(dataset):
    measured = evaluator(dataset, "evaluation.cold_at_most=0").evaluate(MODEL, "test")
    table = measured.table()
    assert table["user_row"].to_list() == [0, 1]
    assert table["cold/recall@2"].to_list() == [None, 1]
    for name in measured.low:
        assert table[name].mean() == pytest.approx(measured.figures[name], rel=1e-6)


def test_of_many_users_the_same_few_are_measured_every_time(dataset):
    users = [evaluator(dataset, "evaluation.most_users=1").evaluate(MODEL, "test").users.tolist() for _ in range(2)]
    assert len(users[0]) == 1
    assert users[0] == users[1]


def test_a_bound_above_the_number_of_users_changes_nothing(dataset):
    bounded = evaluator(dataset, "evaluation.most_users=2").evaluate(MODEL, "test")
    assert bounded.figures == evaluator(dataset).evaluate(MODEL, "test").figures
