"""DA-MRS over LightGCN (Xv et al., 2024; docs/models.md#da-mrs)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from trainer import losses
from trainer.model_settings import DAMRSSettings
from trainer.models.base import Factors, Inputs, scores, sum_tensors
from trainer.models.propagation import OverInteractions, exact_factors, smoothed
from trainer.parallel import WHOLE, Share

GRAPHS = ("text", "image", "behaviour")
PARTS = {"text": "text", "image": "image", "behaviour": "id"}
"""The part of an explanation that each graph belongs to: behaviour is who had what, as the ID embeddings are."""
TEMPERATURE = 0.2
N_NEAREST = 10
ROWS_AT_ONCE = 512
TINY = 1e-9


class DAMRS(OverInteractions):
    """LightGCN plus ID embeddings smoothed over three item graphs; features do no more than shape the graphs."""

    def __init__(self, settings: DAMRSSettings, inputs: Inputs) -> None:
        super().__init__(inputs, settings.embedding_size, settings.n_layers)
        self._settings = settings

    def _views(self) -> dict[str, Tensor]:
        graphs, n_layers = self._inputs.item_graphs, self._settings.n_item_layers
        return {name: smoothed(graphs[name], self.item_embedding, n_layers) for name in GRAPHS}

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """Ranking weighed by how sure the views are, their neighbourhoods' agreement, and users' view of both sides."""
        settings, ids, views = self._settings, self._propagate(), self._views()
        mean_view = sum_tensors(views.values()) / len(GRAPHS)
        units = {name: normalize(view) for name, view in views.items()}
        distinct = torch.unique(torch.cat([positives, negatives]))

        def agreement() -> Tensor:
            return discrimination(units, distinct) / len(GRAPHS)

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


def discrimination(units: dict[str, Tensor], rows: Tensor) -> Tensor:
    """The sum over the views of ND: what is near in it (B) or in all views (A) against all others; means over rows."""
    total: Tensor = _InBlocks.apply(_block_loss, torch.split(rows, ROWS_AT_ONCE), *units.values())  # type: ignore[no-untyped-call]
    return total / len(rows)


class _InBlocks(torch.autograd.Function):
    """The sum of a loss over blocks of rows; each block's gradient is computed at once, which frees its memory."""

    @staticmethod
    def forward(ctx: Any, loss: Callable[..., Tensor], blocks: Sequence[Tensor], *tables: Tensor) -> Tensor:
        leaves = [table.detach().requires_grad_() for table in tables]
        total = tables[0].new_zeros(())
        with torch.enable_grad():
            for block in blocks:
                part = loss(block, *leaves)
                part.backward()  # type: ignore[no-untyped-call]
                total += part.detach()
        ctx.save_for_backward(*(leaf.grad for leaf in leaves))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(gradient * table for table in ctx.saved_tensors))


def _block_loss(rows: Tensor, *units: Tensor) -> Tensor:
    """The loss of a block, summed over its rows and the views."""
    own = [unit[rows] for unit in units]
    with torch.no_grad():
        products = [mine @ unit.T for mine, unit in zip(own, units, strict=True)]  # (len(rows), n_items)
        chances = [cosines.softmax(dim=1) for cosines in products]
        together = sum_tensors(chances)
    total = units[0].new_zeros(())
    for mine, unit, cosines, chance in zip(own, units, products, chances, strict=True):
        near = _largest(together + chance, N_NEAREST)
        nearer = _largest_besides(chance, near)
        everything, shift = losses.sums_exp(mine / TEMPERATURE, unit, cosines.div_(TEMPERATURE))
        of_near, of_nearer = (_sums_of(mine, unit[items], shift) for items in (near, nearer))
        total = total - torch.log(of_near / everything + TINY).sum()
        total = total - torch.log(of_nearer / (everything - of_near) + TINY).sum()
    return total


def _sums_of(rows: Tensor, chosen: Tensor, shift: Tensor) -> Tensor:
    """The sum of exp(r . c / temperature - shift) over the items chosen for each row (m, k, d). (m,)."""
    cosines = torch.einsum("md,mkd->mk", rows, chosen)
    return (cosines / TEMPERATURE - shift[:, None]).exp().sum(dim=1)


def _largest_besides(values: Tensor, taken: Tensor) -> Tensor:
    """Columns of the largest of each row without the columns that are taken."""
    columns = _largest(values, N_NEAREST + taken.shape[1])
    again = (columns[:, :, None] == taken[:, None]).any(dim=2)
    left = values.gather(1, columns).masked_fill(again, 0.0)
    return columns.gather(1, _largest(left, N_NEAREST))


def _largest(values: Tensor, k: int) -> Tensor:
    return values.topk(min(k, values.shape[1]), dim=1).indices
