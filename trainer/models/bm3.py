"""BM3 (Zhou et al., 2023; MODELS.md 3.8)."""

from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import BM3Settings
from trainer.models.base import Factors, Inputs, Recommender, present, projected_rows, projection, table
from trainer.models.propagation import Propagated, exact_factors, light_gcn
from trainer.parallel import WHOLE, Share


class BM3(Recommender):
    """Learns without negatives: a predicted view of each row is drawn towards a dropped-out view of its partner."""

    def __init__(self, settings: BM3Settings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.modalities = present(settings.modalities, inputs)
        size = settings.embedding_size
        self.user_embedding = table(inputs.n_users, size)
        self.item_embedding = table(inputs.n_items, size)
        self.predictor = projection(size, size)
        self.features = nn.ParameterDict({m: nn.Parameter(inputs.features[m].clone()) for m in self.modalities})
        self.projections = nn.ModuleDict({m: projection(inputs.features[m].shape[1], size) for m in self.modalities})

    def _propagate(self) -> Propagated:
        n_layers = self._settings.n_layers
        return light_gcn(self._inputs.interactions, self.user_embedding, self.item_embedding, n_layers)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Alignment of users with items and of features with items, and the norms of *all* rows; no negatives."""
        settings, propagated = self._settings, self._propagate()
        all_users, all_items = propagated.users, propagated.items + self.item_embedding
        # In the order of the reference's draws; of the whole batch also where a share of it is looked at.
        masks = [self.noise.dropout_rows(all_users, users, settings.dropout)]
        masks += [self.noise.dropout_rows(all_items, positives, settings.dropout) for _ in ("item", *self.modalities)]
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        user, item = all_users[users[own]], all_items[positives[own]]
        user_target, item_target = masks[0][own] * user, masks[1][own] * item
        gap = losses.cosine_gap_to_fixed
        terms = {
            "user_to_item": fraction * gap(self.predictor(user), item_target),
            "item_to_user": fraction * gap(self.predictor(item), user_target),
        }
        for modality, mask in zip(self.modalities, masks[2:], strict=True):
            (projected,) = projected_rows(self.projections[modality], self.features[modality], positives[own])
            predicted = self.predictor(projected)
            weight = fraction * settings.modal_weight
            terms[f"{modality}_to_item"] = weight * gap(predicted, item_target)
            terms[f"{modality}_to_itself"] = weight * gap(predicted, mask[own] * projected)
        return terms | share.take({"reg": lambda: settings.reg_weight * losses.frobenius_penalty(all_users, all_items)})

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """The predictor is applied to both sides."""
        factors = self.factors()
        return factors.user_embeddings, factors.item_embeddings

    def factors(self) -> Factors:
        """One part, `id`: features act on training alone. The predictor is affine, so folding in stays exact."""
        propagated, n_terms = self._propagate(), self._settings.n_layers + 1
        return exact_factors(
            self.predictor(propagated.users),
            {"id": self.predictor(propagated.items + self.item_embedding)},
            own=self.predictor(self.user_embedding / n_terms),
            handed=propagated.item_layers_below_last / n_terms @ self.predictor.weight.T,
            inputs=self._inputs,
        )
