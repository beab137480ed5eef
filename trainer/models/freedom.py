"""FREEDOM (Zhou and Shen, 2023; docs/models.md#freedom)."""

from functools import partial

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import linear

from trainer import losses
from trainer.graph import SparseMatrix, interaction_matrix, normalise_interactions
from trainer.model_settings import FREEDOMSettings
from trainer.models.base import Factors, Inputs, available_modalities, projected_rows, scores, sum_tensors
from trainer.models.propagation import OverInteractions, exact_factors, smoothed
from trainer.parallel import WHOLE, Share


class FREEDOM(OverInteractions):
    """LightGCN over a graph thinned again each epoch, plus ID embeddings smoothed over a frozen item graph."""

    def __init__(self, settings: FREEDOMSettings, inputs: Inputs) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings = settings
        self.modalities = available_modalities(settings.modalities, inputs)
        size = settings.embedding_size
        self.features = nn.ParameterDict({m: nn.Parameter(inputs.features[m].clone()) for m in self.modalities})
        self.projections = nn.ModuleDict({m: nn.Linear(inputs.features[m].shape[1], size) for m in self.modalities})
        self._thinned: SparseMatrix | None = None

    def begin_epoch(self) -> None:
        """Draw the interactions that this epoch propagates over; edges between popular nodes are dropped more often."""
        inputs, rate = self._inputs, self._settings.edge_dropout
        self._thinned = inputs.interactions
        if rate > 0:
            users, items = inputs.pairs
            degrees = inputs.user_degrees[users].float() * inputs.item_degrees[items].float()
            kept = self.noise.sample(-0.5 * degrees.log(), int(inputs.pairs.shape[1] * (1.0 - rate)))
            rows = inputs.pairs[:, kept].cpu().numpy().astype(np.int64)
            matrix = interaction_matrix(rows[0], rows[1], inputs.n_users, inputs.n_items)
            self._thinned = SparseMatrix(normalise_interactions(matrix), kept.device)

    def _shares(self) -> dict[str, float]:
        """Shares of the modalities' graphs in the item graph; a single modality has all of it."""
        image = self._settings.image_share
        weights = {"image": image, "text": 1.0 - image}
        return {m: weights[m] if len(self.modalities) > 1 else 1.0 for m in self.modalities}

    def _content_parts(self) -> dict[str, Tensor]:
        """M^n Q with M = sum of the modalities' graphs by their shares, and what of it the last step had from each."""
        graphs, shares = self._inputs.item_graphs, self._shares()
        rows: Tensor = self.item_embedding
        for _ in range(self._settings.n_item_layers - 1):
            rows = sum_tensors(share * (graphs[m] @ rows) for m, share in shares.items())
        return {m: share * smoothed(graphs[m], rows, 1) for m, share in shares.items()}

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking by the final embeddings, and by each modality's projected features."""
        if self._thinned is None:
            self.begin_epoch()
        assert self._thinned is not None
        propagated, own, fraction = self._propagate(self._thinned), share.rows(len(users)), share.fraction(len(users))
        user, items = propagated.users[users[own]], propagated.items + sum_tensors(self._content_parts().values())
        ranked = losses.bpr(scores(user, items[positives[own]]), scores(user, items[negatives[own]]))
        terms = {"bpr": fraction * ranked}
        for m in self.modalities:
            # Without the bias, which cancels between the two: of its gradient rounding alone would be left.
            project = partial(linear, weight=self.projections[m].get_parameter("weight"))
            positive, negative = projected_rows(project, self.features[m], positives[own], negatives[own])
            ranked = losses.bpr(scores(user, positive), scores(user, negative))
            terms[f"bpr_{m}"] = fraction * self._settings.modal_weight * ranked
        return terms

    def factors(self) -> Factors:
        """Parts `id` and, of the item graph's last step, one a modality."""
        propagated, n_terms = self._propagate(), self._settings.n_layers + 1
        return exact_factors(
            propagated.users,
            {"id": propagated.items, **self._content_parts()},
            own=self.user_embedding / n_terms,
            handed=propagated.item_layers_below_last / n_terms,
            inputs=self._inputs,
        )
