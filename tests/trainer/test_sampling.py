"""Batches: every pair once an epoch, negatives never seen, the same draws for the same seed."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import topics_dataset

from trainer.config import load_config
from trainer.fit import fit
from trainer.run_folder import RunFolder
from trainer.sampling import MMRecSampler, PairSampler, Sampler, UserSampler

every_kind = pytest.mark.parametrize("kind", [PairSampler, UserSampler, MMRecSampler])


def checkerboard(n_users: int = 10, n_items: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """User u has the items of u's own parity."""
    users, items = np.meshgrid(np.arange(n_users), np.arange(n_items), indexing="ij")
    same = (users + items) % 2 == 0
    return users[same], items[same]


def whole_epoch(sampler: Sampler, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batches = list(sampler.epoch(number, batch_size=7))
    return tuple(np.concatenate([batch[column] for batch in batches]) for column in range(3))


@every_kind
def test_an_epoch_holds_every_training_pair_exactly_once(kind):
    users, items = checkerboard()
    drawn_users, positives, _ = whole_epoch(kind(users, items, 12, seed=1), 0)
    assert sorted(zip(drawn_users, positives, strict=True)) == sorted(zip(users, items, strict=True))


@every_kind
def test_on_a_checkerboard_every_negative_has_the_other_parity(kind):
    users, items = checkerboard()
    drawn_users, _, negatives = whole_epoch(kind(users, items, 12, seed=1), 0)
    assert ((drawn_users + negatives) % 2 == 1).all()


@every_kind
def test_the_last_smaller_batch_is_kept(kind):
    users, items = checkerboard(2, 5)  # five pairs
    sizes = [len(batch.users) for batch in kind(users, items, 5, seed=0).epoch(0, batch_size=2)]
    assert sizes == [2, 2, 1]


@every_kind
def test_negatives_come_only_from_items_that_occur_in_training(kind):
    users, items = np.array([0, 0, 1]), np.array([0, 1, 2])
    for number in range(20):
        _, _, negatives = whole_epoch(kind(users, items, 1000, seed=3), number)
        assert set(negatives) <= {0, 1, 2}


@every_kind
def test_negatives_are_uniform_over_what_the_user_does_not_have(kind):
    users, items = np.array([0] * 2 + [1] * 4), np.array([0, 1, 2, 3, 4, 5])
    sampler = kind(users, items, 6, seed=0)
    counts = np.zeros(6)
    for number in range(2000):
        drawn_users, _, negatives = whole_epoch(sampler, number)
        np.add.at(counts, negatives[drawn_users == 0], 1)
    assert counts[:2].sum() == 0
    assert counts[2:] == pytest.approx(np.full(4, 1000), rel=0.12)


@every_kind
def test_a_user_who_has_every_item_is_left_out_instead_of_looping_for_ever(kind):
    users, items = np.array([0, 0, 1]), np.array([0, 1, 0])
    drawn_users, _, negatives = whole_epoch(kind(users, items, 2, seed=0), 0)
    assert list(drawn_users) == [1]
    assert list(negatives) == [1]


@given(kind=st.sampled_from([PairSampler, MMRecSampler]), seed=st.integers(0, 2**31), number=st.integers(0, 50))
def test_an_epoch_depends_on_its_seed_and_number_alone(kind, seed, number):
    users, items = checkerboard(4, 6)
    first = kind(users, items, 6, seed=seed)
    list(first.epoch(number + 1, 5))
    again = kind(users, items, 6, seed=seed)
    for one, two in zip(first.epoch(number, 5), again.epoch(number, 5), strict=True):
        np.testing.assert_array_equal(one, two)


@every_kind
def test_two_epochs_and_two_seeds_differ(kind):
    users, items = checkerboard()
    sampler = kind(users, items, 12, seed=1)
    assert not np.array_equal(whole_epoch(sampler, 0)[0], whole_epoch(sampler, 1)[0])
    assert not np.array_equal(whole_epoch(sampler, 0)[0], whole_epoch(kind(users, items, 12, seed=2), 0)[0])


@pytest.fixture(scope="module")
def golden():
    return np.load(Path(__file__).parent / "goldens" / "golden_sampler.npz")


def golden_sampler(golden) -> MMRecSampler:
    inter = golden["inter"].astype(np.int64)
    train = inter[inter[:, 4] == 0]
    return MMRecSampler(train[:, 0], train[:, 1], inter[:, 1].max() + 1, seed=int(golden["seed"]))


def test_the_sampler_by_users_keeps_the_pairs_of_each_together():
    users, items = checkerboard()
    drawn, _, _ = whole_epoch(UserSampler(users, items, 12, seed=1), 0)
    runs = drawn[np.flatnonzero(np.diff(drawn, prepend=-1))]
    assert sorted(runs) == sorted(set(users))
    assert list(runs) != sorted(runs)


def test_the_mmrec_sampler_draws_what_the_reference_recorded(golden):
    sampler = golden_sampler(golden)
    drawn = [
        batch for epoch in range(int(golden["epochs"])) for batch in sampler.epoch(epoch, int(golden["batch_size"]))
    ]
    assert len(drawn) == len(golden["epoch_of_batch"])
    for number, batch in enumerate(drawn):
        np.testing.assert_array_equal(np.stack(batch), golden[f"batch/{number}"])


def test_the_mmrec_sampler_neither_reads_nor_moves_the_global_generators(golden):
    random.seed(1)
    np.random.seed(1)
    state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    first = next(golden_sampler(golden).epoch(0, int(golden["batch_size"])))
    np.testing.assert_array_equal(np.stack(first), golden["batch/0"])
    assert random.getstate() == state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("before", [[], [0], [0, 1], [0, 1, 2, 3], [5], [2, 2]])
def test_an_mmrec_epoch_is_the_same_wherever_the_sampler_stood_before(golden, before):
    unbroken = golden_sampler(golden)
    expected = [whole_epoch(unbroken, number) for number in range(3)][2]
    resumed = golden_sampler(golden)
    for number in before:
        next(resumed.epoch(number, 7))  # left in mid-epoch, as by an interruption
    np.testing.assert_array_equal(whole_epoch(resumed, 2), expected)


def interrupt_after_three_epochs(epoch, score):
    if epoch == 2:
        raise KeyboardInterrupt


@pytest.mark.parametrize("sampler", ["vectorised", "users", "mmrec"])
def test_a_run_interrupted_between_checkpoints_resumes_with_the_same_draws(tmp_path, sampler):
    dataset = topics_dataset(tmp_path / "topics")
    settings = ("epochs=5", "checkpoint_every=2", "batch_size=128", f"sampler={sampler}")
    config = load_config("bpr", ("model.embedding_size=4", *(f"training.{setting}" for setting in settings)))
    unbroken, broken = RunFolder(tmp_path / "unbroken"), RunFolder(tmp_path / "broken")
    fit(dataset, config, unbroken)
    with pytest.raises(KeyboardInterrupt):
        fit(dataset, config, broken, on_evaluation=interrupt_after_three_epochs)
    fit(dataset, config, broken)
    assert losses_of(broken) == losses_of(unbroken)


def losses_of(run: RunFolder) -> list[float]:
    return [json.loads(line)["loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
