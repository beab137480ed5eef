"""Models whose scores are x B with an item-item matrix B: measured at full rank, served at rank d."""

from abc import abstractmethod
from functools import reduce
from operator import add
from typing import TypeAlias

import scipy.sparse as sp
import torch
from torch import Tensor

from trainer.graph import SparseMatrix
from trainer.model_settings import ItemItemSettings
from trainer.models.base import Factors, Inputs, Scorer
from trainer.models.fitted import FittedModel, Tensors, Work
from trainer.models.spectral import Iteration, served_form
from trainer.models.user_rows import UserRows

Matrix: TypeAlias = "Tensor | sp.csr_matrix"
"""(n_items, n_items), dense on the device or sparse; column j scores item j."""

_SERVED = {"embedding_size", "recency_tau", "recency_floor"}
"""Settings that the matrix does not depend on."""
_PART = "item/"


class ItemItemModel(FittedModel):
    """A model that scores by x B; x (n_items,) holds the recency weights of a user's items."""

    served_exactly = False

    def __init__(self, settings: ItemItemSettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__()
        self._inputs, self._served, self._seed = inputs, settings, seed
        self._matrices: dict[str, Matrix] = {}

    @abstractmethod
    def item_item(self) -> dict[str, Matrix]:
        """The parts of B by name, which sum to it; the diagonal is 0."""

    def scorer(self) -> Scorer:
        """At full rank; the matrix is not part of the saved state, and computed again where it is missing."""
        self._matrices = self._matrices or self.item_item()
        weights = self._inputs.histories.matrix(self._served.recency)
        whole = reduce(add, self._matrices.values())
        return lambda rows: _times(weights[rows.cpu().numpy()], whole)

    def solve(self, work: Work) -> Tensors:
        """The served form: `fold_in`, and each part of the item embeddings."""
        version = self._served.model_dump_json(exclude=_SERVED)
        self._matrices = work.latest(type(self).__name__, version, self.item_item)
        device = self._inputs.item_degrees.device
        histories = UserRows(self._inputs.histories.matrix(self._served.recency), device, self._inputs.share)
        parts = {name: _on_device(matrix, device) for name, matrix in self._matrices.items()}
        form = served_form(
            histories,
            lambda block: reduce(add, (part @ block for part in parts.values())),
            lambda block: reduce(add, (part.T @ block for part in parts.values())),
            self._served.embedding_size,
            Iteration(seed=self._seed, device=device, work=work, share=self._inputs.share),
        )
        return {"fold_in": form.fold_in, **{_PART + name: part.T @ form.sums for name, part in parts.items()}}

    def factors(self) -> Factors:
        """The served form; a user is the sum of `fold_in` over past items and nothing else."""
        fold_in, recency = self.solved("fold_in"), self._served.recency
        parts = {name.removeprefix(_PART): self.solved(name) for name in self.solution if name.startswith(_PART)}
        users = SparseMatrix(self._inputs.histories.matrix(recency), fold_in.device) @ fold_in
        return Factors(users, parts, None, fold_in, recency=recency)


def _times(rows: sp.csr_matrix, matrix: Matrix) -> Tensor:
    """(m, n_items) sparse times B."""
    if isinstance(matrix, Tensor):
        return SparseMatrix(rows, matrix.device) @ matrix
    return torch.from_numpy((rows @ matrix).toarray())


def _on_device(matrix: Matrix, device: torch.device) -> Tensor | SparseMatrix:
    return matrix if isinstance(matrix, Tensor) else SparseMatrix(matrix, device)
