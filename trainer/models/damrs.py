"""DA-MRS over LightGCN (Xv et al., 2024; MODELS.md 3.9)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize
from torch.utils.checkpoint import checkpoint

from trainer.model_settings import DAMRSSettings
from trainer.models.base import Factors, Inputs, Recommender, added, scores, table
from trainer.models.propagation import Propagated, exact_factors, light_gcn, smoothed
from trainer.parallel import WHOLE, Share

GRAPHS = ("text", "image", "behaviour")
PARTS = {"text": "text", "image": "image", "behaviour": "id"}
"""The part of an explanation that each graph belongs to: behaviour is who had what, as the ID embeddings are."""
TEMPERATURE = 0.2
N_NEAREST = 10
ROWS_AT_ONCE = 1_024
TINY = 1e-9


class DAMRS(Recommender):
    """LightGCN plus ID embeddings smoothed over three item graphs; features do no more than shape the graphs."""

    def __init__(self, settings: DAMRSSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        self.user_embedding = table(inputs.n_users, settings.embedding_size)
        self.item_embedding = table(inputs.n_items, settings.embedding_size)

    def _propagate(self) -> Propagated:
        n_layers = self._settings.n_layers
        return light_gcn(self._inputs.interactions, self.user_embedding, self.item_embedding, n_layers)

    def _views(self) -> dict[str, Tensor]:
        graphs, n_layers = self._inputs.item_graphs, self._settings.n_item_layers
        return {name: smoothed(graphs[name], self.item_embedding, n_layers) for name in GRAPHS}

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking weighed by how sure the views are, their neighbourhoods' agreement, and users' view of both sides."""
        settings, ids, views = self._settings, self._propagate(), self._views()
        mean_view = added(views.values()) / len(GRAPHS)
        units = {name: normalize(view) for name, view in views.items()}
        distinct = torch.unique(torch.cat([positives, negatives]))

        def agreement() -> Tensor:
            return added(discrimination(name, units, distinct) for name in GRAPHS) / len(GRAPHS)

        def ranking() -> Tensor:
            certain, doubtful = confidence(ids.users[users], units, positives, negatives)
            items = ids.items + mean_view
            user = ids.users[users]
            gap = scores(user, items[positives]) - scores(user, items[negatives])
            return -(certain * logsigmoid(gap) + doubtful * logsigmoid(-gap)).mean()

        return share.take(
            {
                "bpr": ranking,
                "neighbours": lambda: settings.neighbour_weight * agreement(),
                "kl": lambda: (
                    settings.kl_weight
                    * divergence(
                        ids.users[torch.unique(users)], normalize(ids.items[distinct]), normalize(mean_view[distinct])
                    )
                ),
            }
        )

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """LightGCN's users; items with the mean of the views."""
        factors = self.factors()
        return factors.user_embeddings, factors.item_embeddings

    def factors(self) -> Factors:
        """Parts `id` (with the behaviour graph's share), `text` and `image`."""
        ids, n_terms = self._propagate(), self._settings.n_layers + 1
        parts = {"id": ids.items}
        for name, view in self._views().items():
            part = PARTS[name]
            parts[part] = parts.get(part, 0.0) + view / len(GRAPHS)
        return exact_factors(
            ids.users,
            parts,
            own=self.user_embedding / n_terms,
            handed=ids.item_layers_below_last / n_terms,
            inputs=self._inputs,
        )


def divergence(users: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Mean over all pairs of KL(p||q) + KL(q||p) of Bernoulli p = sigma(u.a), q = sigma(u.b).

    Equal to (p - q)(u.a - u.b), which needs no logarithm. users (m, d); one, other (n, d).
    """
    a, b = users @ one.T, users @ other.T
    return ((torch.sigmoid(a) - torch.sigmoid(b)) * (a - b)).mean()


@torch.no_grad()
def confidence(users: Tensor, units: dict[str, Tensor], positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """How surely a positive is one, and how surely it is none, (B,) each, from the three views' scores."""
    liked = torch.stack([torch.sigmoid(scores(users, unit[positives])) for unit in units.values()])  # (3, B)
    others = torch.stack([torch.sigmoid(scores(users, unit[negatives])) for unit in units.values()]).mean()
    mean = liked.mean(dim=0)
    certain = (mean * torch.exp(-2.0 * liked.var(dim=0, unbiased=True))).clamp(0.0, 1.0)
    doubtful = ((liked.max(dim=0).values - others) * (mean < others)).clamp(0.0, 1.0)
    return certain, doubtful


def discrimination(target: str, units: dict[str, Tensor], rows: Tensor) -> Tensor:
    """ND: items that are near in the target view (B) or in all views (A) against all others; a mean over the rows.

    The (len(rows), n_items) similarities are made a block of rows at a time, and again for the gradient.
    """
    total = units[target].new_zeros(())
    for block in torch.split(rows, ROWS_AT_ONCE):
        near, nearer = _nearest(target, units, block)
        total = total + checkpoint(_block_loss, units[target], block, near, nearer, use_reentrant=False)
    return total / len(rows)


@torch.no_grad()
def _nearest(target: str, units: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """(len(rows), 10) items: the likeliest by all views together, and by the target among the rest."""
    chances = {name: (unit[rows] @ unit.T).softmax(dim=1) for name, unit in units.items()}
    n_nearest = min(N_NEAREST, len(units[target]))
    together = (added(chances.values()) + chances[target]).topk(n_nearest, dim=1).indices
    alone = chances[target].scatter(1, together, 0.0).topk(n_nearest, dim=1).indices
    return together, alone


def _block_loss(unit: Tensor, rows: Tensor, together: Tensor, alone: Tensor) -> Tensor:
    weights = (unit[rows] @ unit.T / TEMPERATURE).exp()  # (len(rows), n_items)
    total = weights.sum(dim=1)
    near, nearer = weights.gather(1, together).sum(dim=1), weights.gather(1, alone).sum(dim=1)
    return -(torch.log(near / total + TINY) + torch.log(nearer / (total - near) + TINY)).sum()
