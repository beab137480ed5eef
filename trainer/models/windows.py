"""Histories as sequences of tokens, cut into windows that a causal model reads."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.histories import Histories


class Windows(NamedTuple):
    """Stretches of the tokens."""

    starts: Tensor
    """(w,) place of the first token."""
    lengths: Tensor
    """(w,) number of tokens, above 0."""


class Places(NamedTuple):
    """Where the tokens stand from which some targets are to be predicted."""

    windows: Windows
    rows: Tensor
    """(B,) window of each target."""
    within: Tensor
    """(B,) place in the window of the token before the target."""


class Sequences:
    """Each user's history behind a token of its own, the start: what comes next is predicted at every token.

    Training cuts a history into windows of `size` targets from the newest back, so that each target is in one.
    """

    def __init__(self, histories: Histories, size: int, device: torch.device) -> None:
        offsets, self._n_items, self._size = histories.offsets, histories.n_items, size
        n = np.diff(offsets)
        users = np.repeat(np.arange(len(n)), n)
        targets = np.arange(len(users)) - offsets[users]
        behind = (n[users] - 1 - targets) // size * size  # targets of the newer windows
        first = np.maximum(n[users] - behind - size, 0)
        starts, rows = np.unique(offsets[users] + users + first, return_inverse=True)
        within = targets - first
        lengths = np.bincount(rows, minlength=len(starts))
        self.tokens = torch.from_numpy(np.insert(histories.items.astype(np.int64), offsets[:-1], self._n_items)).to(
            device
        )
        self._windows = Windows(*(torch.from_numpy(a).to(device) for a in (starts, lengths)))
        self._ends = torch.from_numpy(offsets[1:] + np.arange(1, len(n) + 1)).to(device)
        self._lengths = torch.from_numpy(np.minimum(n + 1, size)).to(device)
        keys = users * self._n_items + histories.items
        order = np.argsort(keys)
        self._keys, self._rows, self._within = (
            torch.from_numpy(a[order].astype(np.int64)).to(device) for a in (keys, rows, within)
        )

    def latest(self) -> Windows:
        """The newest tokens of every user, at most `size`."""
        return Windows(self._ends - self._lengths, self._lengths)

    def of_targets(self, users: Tensor, items: Tensor) -> Places:
        """The training windows that hold these pairs (B,) of a user and an item of the user's history."""
        events = torch.searchsorted(self._keys, users * self._n_items + items)
        distinct, rows = torch.unique(self._rows[events], return_inverse=True)
        return Places(Windows(*(a[distinct] for a in self._windows)), rows, self._within[events])
