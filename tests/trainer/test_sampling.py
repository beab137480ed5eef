"""Batches: every pair once an epoch, negatives never seen, the same draws for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.sampling import PairSampler


def checkerboard(n_users: int = 10, n_items: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """User u has the items of u's own parity."""
    users, items = np.meshgrid(np.arange(n_users), np.arange(n_items), indexing="ij")
    same = (users + items) % 2 == 0
    return users[same], items[same]


def whole_epoch(sampler: PairSampler, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batches = list(sampler.epoch(number, batch_size=7))
    return tuple(np.concatenate([batch[column] for batch in batches]) for column in range(3))


def test_an_epoch_holds_every_training_pair_exactly_once():
    users, items = checkerboard()
    drawn_users, positives, _ = whole_epoch(PairSampler(users, items, 12, seed=1), 0)
    assert sorted(zip(drawn_users, positives, strict=True)) == sorted(zip(users, items, strict=True))


def test_on_a_checkerboard_every_negative_has_the_other_parity():
    users, items = checkerboard()
    drawn_users, _, negatives = whole_epoch(PairSampler(users, items, 12, seed=1), 0)
    assert ((drawn_users + negatives) % 2 == 1).all()


def test_the_last_smaller_batch_is_kept():
    users, items = checkerboard(2, 5)  # five pairs
    sizes = [len(batch.users) for batch in PairSampler(users, items, 5, seed=0).epoch(0, batch_size=2)]
    assert sizes == [2, 2, 1]


def test_negatives_come_only_from_items_that_occur_in_training():
    users, items = np.array([0, 0, 1]), np.array([0, 1, 2])
    for number in range(20):
        _, _, negatives = whole_epoch(PairSampler(users, items, 1000, seed=3), number)
        assert set(negatives) <= {0, 1, 2}


def test_negatives_are_uniform_over_what_the_user_does_not_have():
    users, items = np.array([0] * 2 + [1] * 4), np.array([0, 1, 2, 3, 4, 5])
    sampler = PairSampler(users, items, 6, seed=0)
    counts = np.zeros(6)
    for number in range(2000):
        drawn_users, _, negatives = whole_epoch(sampler, number)
        np.add.at(counts, negatives[drawn_users == 0], 1)
    assert counts[:2].sum() == 0
    assert counts[2:] == pytest.approx(np.full(4, 1000), rel=0.12)


def test_a_user_who_has_every_item_is_left_out_instead_of_looping_for_ever():
    users, items = np.array([0, 0, 1]), np.array([0, 1, 0])
    drawn_users, _, negatives = whole_epoch(PairSampler(users, items, 2, seed=0), 0)
    assert list(drawn_users) == [1]
    assert list(negatives) == [1]


@given(seed=st.integers(0, 2**31), number=st.integers(0, 500))
def test_an_epoch_depends_on_its_seed_and_number_alone(seed, number):
    users, items = checkerboard(4, 6)
    first = PairSampler(users, items, 6, seed=seed)
    list(first.epoch(number + 1, 5))
    again = PairSampler(users, items, 6, seed=seed)
    for one, two in zip(first.epoch(number, 5), again.epoch(number, 5), strict=True):
        np.testing.assert_array_equal(one, two)


def test_two_epochs_and_two_seeds_differ():
    users, items = checkerboard()
    sampler = PairSampler(users, items, 12, seed=1)
    assert not np.array_equal(whole_epoch(sampler, 0)[0], whole_epoch(sampler, 1)[0])
    assert not np.array_equal(whole_epoch(sampler, 0)[0], whole_epoch(PairSampler(users, items, 12, seed=2), 0)[0])
