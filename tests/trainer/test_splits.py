from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from index.errors import InputError
from trainer.splits import (
    TEST,
    TRAIN,
    VALID,
    global_time_split,
    held_out_sizes,
    random_split,
    split_labels,
    time_split,
    time_validation,
)

users = arrays(np.int32, st.integers(1, 120), elements=st.integers(0, 7))
seeds = st.integers(0, 2**32 - 1)


def sizes_by_user(user_rows, labels):
    return {
        int(user): tuple(int(((user_rows == user) & (labels == label)).sum()) for label in (TRAIN, VALID, TEST))
        for user in np.unique(user_rows)
    }


def times_of(user_rows, seed):
    return np.random.default_rng(seed).integers(0, 50, len(user_rows))  # with ties


@pytest.mark.parametrize(
    ("n", "train", "valid", "test"),
    [
        (1, 1, 0, 0),
        (2, 2, 0, 0),
        (3, 1, 1, 1),
        (5, 3, 1, 1),
        (9, 7, 1, 1),
        (10, 8, 1, 1),
        (14, 12, 1, 1),
        (15, 12, 1, 2),
        (20, 16, 2, 2),
        (25, 20, 2, 3),
        (50, 40, 5, 5),
    ],
)
def test_histories_are_cut_as_in_the_papers_table(n, train, valid, test):
    n_valid, n_test = held_out_sizes(np.array([n]))
    assert (n - n_valid[0] - n_test[0], n_valid[0], n_test[0]) == (train, valid, test)


@given(user_rows=users, seed=seeds)
def test_a_per_user_split_gives_every_user_the_sizes_of_the_recipe(user_rows, seed):
    for labels in (random_split(user_rows, seed), time_split(user_rows, times_of(user_rows, seed))):
        for user, (train, valid, test) in sizes_by_user(user_rows, labels).items():
            n = np.array([(user_rows == user).sum()])
            assert [valid, test] == np.concatenate(held_out_sizes(n)).tolist()
            assert train == n[0] - valid - test > 0


@given(user_rows=users, seed=seeds)
def test_a_random_split_depends_on_the_seed_and_on_nothing_else(user_rows, seed):
    assert (random_split(user_rows, seed) == random_split(user_rows.copy(), seed)).all()


def test_another_seed_gives_another_split():
    user_rows = np.zeros(100, np.int32)
    assert (random_split(user_rows, 0) != random_split(user_rows, 1)).any()


@given(user_rows=users, seed=seeds)
def test_by_time_no_user_is_trained_on_what_came_after_what_is_held_out(user_rows, seed):
    timestamps = times_of(user_rows, seed)
    labels = time_split(user_rows, timestamps)
    for user in np.unique(user_rows):
        own = user_rows == user
        order = np.lexsort((np.arange(own.sum()), timestamps[own]))
        assert (np.diff(labels[own][order]) >= 0).all()


def any_labels(user_rows, seed):
    return np.random.default_rng(seed + 1).integers(TRAIN, TEST + 1, len(user_rows)).astype(np.int8)


@given(user_rows=users, seed=seeds)
def test_a_validation_part_by_time_leaves_the_test_part_as_it_is_and_everybody_something_to_train_on(user_rows, seed):
    labels = any_labels(user_rows, seed)
    made = time_validation(labels, user_rows, times_of(user_rows, seed))
    assert ((made == TEST) == (labels == TEST)).all()
    for user in np.unique(user_rows[labels != TEST]):
        own = user_rows == user
        n_valid = int(held_out_sizes(np.array([own.sum()]))[0][0])
        n_rest = int((labels[own] != TEST).sum())
        assert (made[own] == VALID).sum() == min(n_valid, n_rest - 1)
        assert (made[own] == TRAIN).any()


@given(user_rows=users, seed=seeds)
def test_a_validation_part_by_time_is_each_user_s_newest_outside_test(user_rows, seed):
    timestamps = times_of(user_rows, seed)
    made = time_validation(any_labels(user_rows, seed), user_rows, timestamps)
    for user in np.unique(user_rows):
        own = (user_rows == user) & (made != TEST)
        order = np.lexsort((np.arange(own.sum()), timestamps[own]))
        assert (np.diff(made[own][order]) >= 0).all()


@given(user_rows=users, seed=seeds)
def test_a_split_by_time_has_the_validation_part_by_time_already(user_rows, seed):
    timestamps = times_of(user_rows, seed)
    labels = time_split(user_rows, timestamps)
    assert (time_validation(labels, user_rows, timestamps) == labels).all()


@given(user_rows=users, seed=seeds)
def test_by_global_time_everything_held_out_is_later_than_everything_trained_on(user_rows, seed):
    timestamps = times_of(user_rows, seed)
    labels = global_time_split(timestamps)
    parts = [timestamps[labels == label] for label in (TRAIN, VALID, TEST)]
    assert sum(map(len, parts)) == len(timestamps)
    for before, after in pairwise(parts):
        if len(before) and len(after):
            assert before.max() < after.min()


def test_by_global_time_a_tenth_each_is_held_out_where_times_differ():
    labels = global_time_split(np.arange(100))
    assert np.bincount(labels).tolist() == [80, 10, 10]


@pytest.mark.parametrize("kind", ["time", "global-time"])
def test_a_split_by_time_refuses_interactions_without_times(kind):
    with pytest.raises(InputError, match=f"'{kind}' needs a time for every interaction"):
        split_labels(kind, np.zeros(5, np.int32), None, None, seed=0)


def test_given_labels_are_kept():
    labels = np.array([0, 2, 1], np.int8)
    assert split_labels("given", np.zeros(3, np.int32), None, labels, seed=0).tolist() == [0, 2, 1]


@pytest.mark.parametrize(("labels", "message"), [(None, "the input has none"), (np.array([0, 7], np.int8), r"\[7\]")])
def test_given_labels_must_be_there_and_be_labels(labels, message):
    with pytest.raises(InputError, match=message):
        split_labels("given", np.zeros(2, np.int32), None, labels, seed=0)
