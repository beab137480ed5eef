"""LightGCN (He et al., 2020; docs/models.md#lightgcn)."""

from torch import Tensor

from trainer import losses
from trainer.model_settings import LightGCNSettings
from trainer.models.base import Factors, Inputs, scores
from trainer.models.propagation import OverInteractions, exact_factors
from trainer.parallel import WHOLE, Share


class LightGCN(OverInteractions):
    """ID embeddings smoothed over the user-item graph; nothing else is learned."""

    def __init__(self, settings: LightGCNSettings, inputs: Inputs) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings = settings

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """BPR on the propagated rows, norms of the layer-0 rows."""
        propagated = self._propagate()
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        user, items = propagated.users[users[own]], propagated.items
        penalty = share.take({"reg": lambda: self._penalty(users, positives, negatives)})
        ranked = losses.bpr_clipped(scores(user, items[positives[own]]), scores(user, items[negatives[own]]))
        return {"bpr": fraction * ranked} | penalty

    def _penalty(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        rows = self.user_embedding[users], self.item_embedding[positives], self.item_embedding[negatives]
        return self._settings.reg_weight * losses.frobenius_penalty(*rows)

    def factors(self) -> Factors:
        """One part, `id`; exact fold-in (docs/bundle.md)."""
        propagated = self._propagate()
        n_terms = self._settings.n_layers + 1
        return exact_factors(
            propagated.users,
            {"id": propagated.items},
            own=self.user_embedding / n_terms,
            handed=propagated.item_layers_below_last / n_terms,
            inputs=self._inputs,
        )
