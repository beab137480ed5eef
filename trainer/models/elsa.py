"""ELSA: a linear autoencoder of users' items whose matrix is A A^T - I with rows of unit length."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from trainer.model_settings import ELSASettings
from trainer.models.base import Factors, Inputs
from trainer.models.fitted import FittedModel, Tensors, Work
from trainer.progress import track

SAVE_EVERY = 5
"""Epochs between two steps that an interrupted run resumes from."""


class UserItems(NamedTuple):
    """The items of some users, one user after the other."""

    items: Tensor
    """(t,) int64"""
    starts: Tensor
    """(B,) int64 where each user's begin."""
    counts: Tensor
    """(B,) float32, at least 1."""


class ELSA(FittedModel):
    """Scores by x (A A^T - I), where A (n_items, d) is learned so that they point as x does; Vancura et al. (2022)."""

    def __init__(self, settings: ELSASettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__()
        self._settings, self._inputs, self._seed = settings, inputs, seed

    def solve(self, work: Work) -> Tensors:
        """A, by Adam on batches of users in a random order."""
        with torch.enable_grad():
            table = nn.Parameter(self._initial())
            optimiser = torch.optim.Adam([table], lr=self._settings.learning_rate)
            start = _resume(work.saved_step("elsa"), table, optimiser)
            for epoch in track(range(start, self._settings.epochs), "elsa"):
                self._run_epoch(epoch, table, optimiser)
                if (epoch + 1) % SAVE_EVERY == 0:
                    work.save_step("elsa", _steps(epoch + 1, table, optimiser))
        return {"items": normalize(table.detach())}

    def _initial(self) -> Tensor:
        """Rows of unit length in directions that the seed alone decides."""
        drawn = torch.Generator().manual_seed(self._seed)
        table = torch.randn(self._inputs.n_items, self._settings.embedding_size, generator=drawn)
        return normalize(table).to(self._inputs.item_degrees.device)

    def _run_epoch(self, epoch: int, table: Tensor, optimiser: torch.optim.Optimizer) -> None:
        offsets = self._inputs.histories.offsets
        rng = np.random.default_rng((self._seed, epoch))
        users = rng.permutation(np.flatnonzero(np.diff(offsets)))
        for start in range(0, len(users), self._settings.batch_size):
            batch = self._items_of(users[start : start + self._settings.batch_size])
            optimiser.zero_grad(set_to_none=True)
            autoencoder_loss(normalize(table), batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def _items_of(self, users: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> UserItems:
        histories, device = self._inputs.histories, self._inputs.item_degrees.device
        parts = [histories.items[histories.offsets[user] : histories.offsets[user + 1]] for user in users]
        counts = np.array([len(part) for part in parts])
        items = torch.from_numpy(np.concatenate(parts).astype(np.int64))
        starts = torch.from_numpy(np.cumsum(counts) - counts)
        return UserItems(items.to(device), starts.to(device), torch.from_numpy(counts).float().to(device))

    def factors(self) -> Factors:
        """A is both sides: what -I takes from the score of an item that the user has, no answer shows."""
        items, recency = self.solved("items"), self._settings.recency
        weights = self._inputs.histories.matrix(recency)
        users = torch.from_numpy(weights @ items.cpu().numpy()).to(items.device)
        return Factors(users, {"id": items}, None, items, recency=recency)


def autoencoder_loss(a: Tensor, users: UserItems) -> Tensor:
    """Mean over users of |v(p) - v(x)|^2 for p = x (A A^T - I), v(x) = x / |x|, without a row of all items.

    With y = x A and n items: x.p = |y|^2 - n and |p|^2 = y (A^T A) y^T - 2 |y|^2 + n.
    """
    y = embedding_bag(users.items, a, users.starts, mode="sum")  # (B, d)
    square, n = y.square().sum(dim=1), users.counts
    length = ((y @ (a.T @ a)) * y).sum(dim=1) - 2 * square + n
    cosine = (square - n) / (length.clamp(min=1e-12) * n).sqrt()
    return (2 - 2 * cosine).mean()


def _steps(epochs: int, table: Tensor, optimiser: torch.optim.Optimizer) -> Tensors:
    """What the next epoch depends on."""
    return {"epochs": torch.tensor(epochs), "table": table.detach(), **optimiser.state[table]}


def _resume(steps: Tensors, table: nn.Parameter, optimiser: torch.optim.Optimizer) -> int:
    """Take up saved steps of this table; returns the number of epochs that are done."""
    if not steps or steps["table"].shape != table.shape:
        return 0
    with torch.no_grad():
        table.copy_(steps["table"])
    adam = {name: steps[name].clone() for name in ("step", "exp_avg", "exp_avg_sq")}
    optimiser.state[table] = {name: value if name == "step" else value.to(table.device) for name, value in adam.items()}
    return int(steps["epochs"])
