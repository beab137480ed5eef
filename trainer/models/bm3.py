"""BM3 (Zhou et al., 2023; docs/models.md#bm3)."""

from torch import Tensor, nn

from trainer import losses
from trainer.model_settings import BM3Settings
from trainer.models.base import Factors, Inputs, available_modalities, projected_rows, projection
from trainer.models.propagation import OverInteractions, exact_factors
from trainer.parallel import WHOLE, Share


class BM3(OverInteractions):
    """Learns without negatives: a predicted view of each row is drawn towards a dropped-out view of its partner."""

    def __init__(self, settings: BM3Settings, inputs: Inputs) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings = settings
        self.modalities = available_modalities(settings.modalities, inputs)
        size = settings.embedding_size
        self.predictor = projection(size, size)
        self.features = nn.ParameterDict({m: nn.Parameter(inputs.features[m].clone()) for m in self.modalities})
        self.projections = nn.ModuleDict({m: projection(inputs.features[m].shape[1], size) for m in self.modalities})

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Alignment of users with items and of features with items, and the norms of *all* rows; no negatives."""
        settings, propagated = self._settings, self._propagate()
        all_users, all_items = propagated.users, propagated.items + self.item_embedding
        # In the order of the reference's draws; for the whole batch, also where only a share of it is used.
        masks = [self.noise.dropout_rows(all_users, users, settings.dropout)]
        masks += [self.noise.dropout_rows(all_items, positives, settings.dropout) for _ in ("item", *self.modalities)]
        own, fraction = share.rows(len(users)), share.fraction(len(users))
        user, item = all_users[users[own]], all_items[positives[own]]
        user_target, item_target = (masks[0][own] * user).detach(), (masks[1][own] * item).detach()
        gap = losses.cosine_gap
        terms = {
            "user_to_item": fraction * gap(self.predictor(user), item_target),
            "item_to_user": fraction * gap(self.predictor(item), user_target),
        }
        for modality, mask in zip(self.modalities, masks[2:], strict=True):
            (projected,) = projected_rows(self.projections[modality], self.features[modality], positives[own])
            predicted = self.predictor(projected)
            weight = fraction * settings.modal_weight
            terms[f"{modality}_to_item"] = weight * gap(predicted, item_target)
            terms[f"{modality}_to_itself"] = weight * gap(predicted, (mask[own] * projected).detach())
        return terms | share.take({"reg": lambda: settings.reg_weight * losses.frobenius_penalty(all_users, all_items)})

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
