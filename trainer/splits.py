"""Splits interactions into training, validation and test."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from index.errors import InputError

SplitKind = Literal["random", "time", "global-time", "given"]
Protocol = Literal["given", "random", "time"]
"""A split that labels the same interactions in every user; `given` are the labels of the prepared folder."""
TRAIN, VALID, TEST = 0, 1, 2

FEWEST_TO_HOLD_OUT = 3  # a user with fewer interactions keeps them all for training
SHORT_HISTORY = 10  # below it exactly one interaction each is held out
GLOBAL_QUANTILES = (0.8, 0.9)


def held_out_sizes(n: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of n interactions of a user go to validation and to the test (the papers' "8:1:1").

    n < 10: one each. n >= 10: h = floor(n / 5) together, floor(h / 2) to validation. n < 3: none.
    """
    held_out = np.where(n < SHORT_HISTORY, 2, n // 5)
    held_out = np.where(n < FEWEST_TO_HOLD_OUT, 0, held_out)
    return held_out // 2, held_out - held_out // 2


def random_split(user_rows: NDArray[np.int32], seed: int) -> NDArray[np.int8]:
    """Shuffle every user's interactions, then hold out as many as `held_out_sizes` says."""
    return _hold_out_last(user_rows, np.random.default_rng(seed).permutation(len(user_rows)))


def time_split(user_rows: NDArray[np.int32], timestamps: NDArray[np.int64]) -> NDArray[np.int8]:
    """Hold out every user's latest interactions; of equally old ones, those that come later in the input."""
    return _hold_out_last(user_rows, np.argsort(timestamps, kind="stable"))


def global_time_split(timestamps: NDArray[np.int64]) -> NDArray[np.int8]:
    """Train before the 0.8 quantile of all times, test from the 0.9 quantile on, for all users alike."""
    return np.searchsorted(np.quantile(timestamps, GLOBAL_QUANTILES), timestamps, side="right").astype(np.int8)


def time_validation(
    labels: NDArray[np.int8], user_rows: NDArray[np.int32], timestamps: NDArray[np.int64]
) -> NDArray[np.int8]:
    """`labels` with the test part as it is, and of the rest every user's newest interactions for validation.

    As many as `held_out_sizes` gives for all of a user's interactions, but one stays for training.
    """
    rest = np.flatnonzero(labels != TEST)
    users = user_rows[rest]
    n_valid, _ = held_out_sizes(np.bincount(user_rows))
    n_rest = np.bincount(users, minlength=len(n_valid))
    n_valid = np.minimum(n_valid, np.maximum(n_rest - 1, 0))
    made = labels.copy()
    made[rest] = np.where(_later(users, np.argsort(timestamps[rest], kind="stable")) < n_valid[users], VALID, TRAIN)
    return made


def _hold_out_last(user_rows: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int8]:
    """Label each user's interactions by their place in `order`: the last are for the test."""
    later = _later(user_rows, order)
    n_valid, n_test = held_out_sizes(np.bincount(user_rows))
    held_out = later < (n_valid + n_test)[user_rows]
    return held_out.astype(np.int8) + (later < n_test[user_rows])


def _later(user_rows: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) how many interactions of the same user come later in `order`."""
    by_user = order[np.argsort(user_rows[order], kind="stable")]
    ends = np.cumsum(np.bincount(user_rows))
    later = np.empty(len(user_rows), np.int64)
    later[by_user] = ends[user_rows[by_user]] - 1 - np.arange(len(by_user))
    return later


def split_labels(
    kind: SplitKind,
    user_rows: NDArray[np.int32],
    timestamps: NDArray[np.int64] | None,
    given: NDArray[np.int8] | None,
    seed: int,
) -> NDArray[np.int8]:
    """0 train, 1 validation or 2 test for each interaction; InputError where the input lacks what it takes.

    `timestamps` and `given` are None where they are not known for every interaction.
    """
    if kind == "random":
        return random_split(user_rows, seed)
    if kind == "given":
        return _checked_given(given)
    if timestamps is None:
        raise InputError(
            f"the split {kind!r} needs a time for every interaction; there are interactions without one"
            " (name the time column, or choose the split 'random')"
        )
    return time_split(user_rows, timestamps) if kind == "time" else global_time_split(timestamps)


def _checked_given(given: NDArray[np.int8] | None) -> NDArray[np.int8]:
    if given is None:
        raise InputError("the split 'given' needs a label for every interaction; the input has none")
    if strange := sorted(set(np.unique(given).tolist()) - {TRAIN, VALID, TEST}):
        raise InputError(f"split labels must be 0 (train), 1 (valid) or 2 (test), found {strange}")
    return given
