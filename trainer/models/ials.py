"""iALS: matrix factorisation of implicit feedback by alternating least squares, as the library `implicit` has it."""

import torch
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from trainer.model_settings import IALSSettings
from trainer.models.base import Factors, Inputs
from trainer.models.fitted import FittedModel, Tensors, Work
from trainer.models.propagation import free_users
from trainer.progress import track

SAVE_EVERY = 5
"""Iterations between two steps that an interrupted run resumes from."""


class IALS(FittedModel):
    """User and item embeddings whose products fit 1 where a user has an item, with confidence alpha, and 0 elsewhere.

    Hu et al. (2008).
    """

    def __init__(self, settings: IALSSettings, inputs: Inputs, *, seed: int) -> None:
        super().__init__()
        self._settings, self._inputs, self._seed = settings, inputs, seed

    def solve(self, work: Work) -> Tensors:
        """Users (n_users, d) given items (n_items, d), and items given users, in turn."""
        done = work.saved_step("ials")
        start = int(done["iterations"]) if done else 0
        interactions = self._inputs.histories.binary()
        # Its threads share out the rows; BLAS's own would only be in their way.
        with threadpool_limits(1, "blas"):
            als = self._solver(done)
            for iteration in track(range(start, self._settings.iterations), "ials"):
                als.fit(interactions, show_progress=False)  # one iteration, from the factors that it has
                if (iteration + 1) % SAVE_EVERY == 0:
                    work.save_step("ials", _factors_of(als) | {"iterations": torch.tensor(iteration + 1)})
        device = self._inputs.item_degrees.device
        return {name: table.to(device) for name, table in _factors_of(als).items()}

    def _solver(self, done: Tensors) -> AlternatingLeastSquares:
        settings = self._settings
        als = AlternatingLeastSquares(
            factors=settings.embedding_size,
            regularization=settings.ridge,
            alpha=settings.alpha,
            iterations=1,
            num_threads=torch.get_num_threads(),
            random_state=self._seed,
        )
        if done:
            als.user_factors, als.item_factors = done["users"].numpy(), done["items"].numpy()
        return als

    def factors(self) -> Factors:
        """A user is the solution of a ridge regression on the user's items, which is no sum over them."""
        return free_users(self.solved("users"), {"id": self.solved("items")}, self._inputs)


def _factors_of(als: AlternatingLeastSquares) -> Tensors:
    return {"users": torch.from_numpy(als.user_factors), "items": torch.from_numpy(als.item_factors)}
