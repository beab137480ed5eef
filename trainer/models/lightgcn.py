"""LightGCN (He et al., 2020; MODELS.md 3.2)."""

from torch import Tensor

from trainer import losses
from trainer.model_settings import LightGCNSettings
from trainer.models.base import Factors, Inputs, Recommender, scores, table
from trainer.models.propagation import Propagated, fold_in_rows, light_gcn
from trainer.parallel import WHOLE, Share


class LightGCN(Recommender):
    """ID embeddings smoothed over the user-item graph; nothing else is learned."""

    def __init__(self, settings: LightGCNSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.user_embedding = table(inputs.n_users, settings.embedding_size)
        self.item_embedding = table(inputs.n_items, settings.embedding_size)

    def _propagate(self) -> Propagated:
        n_layers = self._settings.n_layers
        return light_gcn(self._inputs.interactions, self.user_embedding, self.item_embedding, n_layers)

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

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Layer means of both sides."""
        propagated = self._propagate()
        return propagated.users, propagated.items

    def factors(self) -> Factors:
        """One part, `id`; fold-in by SERVING.md section 3."""
        propagated = self._propagate()
        n_terms = self._settings.n_layers + 1
        return Factors(
            user_embeddings=propagated.users,
            item_parts={"id": propagated.items},
            user_own=self.user_embedding / n_terms,
            fold_in=fold_in_rows(propagated.item_layers_below_last / n_terms, self._inputs.item_degrees),
        )
