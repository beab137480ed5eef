"""LATTICE, SMORE and DA-MRS written out densely, equation by equation (docs/models.md#equations), in double precision.

Nothing here is shared with the trainer: parameters come as a dictionary of its names, data as plain tensors.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """Training pairs as a dense matrix, features, settings by name, and the configured batch size."""

    interactions: Tensor
    """R (n_users, n_items), 0 or 1."""
    features: dict[str, Tensor]
    settings: Any
    batch_size: int

    @property
    def adjacency(self) -> Tensor:
        r = self.interactions
        top = torch.cat([torch.zeros(len(r), len(r), dtype=r.dtype), r], dim=1)
        return torch.cat([top, torch.cat([r.T, torch.zeros(r.shape[1], r.shape[1], dtype=r.dtype)], dim=1)])


@dataclass(frozen=True)
class Answer:
    """What a model makes of a batch."""

    loss: Tensor
    users: Tensor
    items: Tensor


def inverse_root(sums: Tensor) -> Tensor:
    return torch.where(sums > 0, sums.clamp(min=1e-300).rsqrt(), torch.zeros_like(sums))


def symmetric(matrix: Tensor) -> Tensor:
    """D^-1/2 M D^-1/2 with the row sums on both sides."""
    scale = inverse_root(matrix.sum(dim=1))
    return scale[:, None] * matrix * scale


def layer_mean(matrix: Tensor, rows: Tensor, n_layers: int) -> Tensor:
    return sum(torch.linalg.matrix_power(matrix, i) @ rows for i in range(n_layers + 1)) / (n_layers + 1)


def cosines(rows: Tensor) -> Tensor:
    unit = rows / rows.norm(dim=1, keepdim=True)
    return unit @ unit.T


def nearest(rows: Tensor, k: int) -> Tensor:
    """Cosines of each row's k nearest, 0 elsewhere."""
    values = cosines(rows)
    kept = torch.zeros_like(values).scatter(1, values.topk(k, dim=1).indices, 1.0)
    return kept * values


def linear(parameters: Parameters, name: str, rows: Tensor) -> Tensor:
    mapped = rows @ parameters[f"{name}.weight"].T
    return mapped + parameters[f"{name}.bias"] if f"{name}.bias" in parameters else mapped


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def ranking(gap: Tensor) -> Tensor:
    return -torch.sigmoid(gap).log().mean()


def l2(world: World, *tables: Tensor) -> Tensor:
    return 0.5 * sum((table**2).sum() for table in tables) / world.batch_size


def nce(rows: Tensor, targets: Tensor) -> Tensor:
    e = torch.exp(unit(rows) @ unit(targets).T / 0.2)
    return -torch.log(e.diagonal() / e.sum(dim=1)).mean()


def lattice(parameters: Parameters, world: World, batch: Tensor) -> Answer:
    s, (u, i, j) = world.settings, batch
    shares = parameters["modal_weight"].softmax(dim=0)
    modalities = ("image", "text")
    projected = {m: linear(parameters, f"projections.{m}", parameters[f"features.{m}"]) for m in modalities}
    learned = symmetric(sum(w * nearest(projected[m], s.k) for w, m in zip(shares, modalities, strict=True)))
    given = sum(w * symmetric(nearest(world.features[m], s.k)) for w, m in zip(shares, modalities, strict=True))
    graph = (1 - s.given_share) * learned + s.given_share * given
    content = torch.linalg.matrix_power(graph, s.n_item_layers) @ parameters["item_embedding"]
    with_loops = world.adjacency + torch.eye(len(world.adjacency), dtype=graph.dtype)
    walk = with_loops / with_loops.sum(dim=1, keepdim=True)
    ids = layer_mean(walk, torch.cat([parameters["user_embedding"], parameters["item_embedding"]]), s.n_layers)
    users, items = ids.split(world.interactions.shape)
    items = items + unit(content)
    loss = ranking((users[u] * (items[i] - items[j])).sum(dim=1))
    return Answer(loss + s.l2_weight * l2(world, users[u], items[i], items[j]), users, items)


def smore(parameters: Parameters, world: World, batch: Tensor) -> Answer:
    s, (u, i, j) = world.settings, batch
    size = parameters["item_embedding"].shape[1]
    n_users, n_items = world.interactions.shape
    spectra = {
        m: torch.fft.rfft(linear(parameters, f"projections.{m}", parameters[f"features.{m}"]), norm="ortho")
        for m in ("image", "text")
    }
    spectra["multimodal"] = spectra["image"] * spectra["text"]
    image, text = (symmetric(nearest(world.features[m], k)) for m, k in (("image", s.k_image), ("text", s.k_text)))
    both = (image != 0) & (text != 0)
    graphs = {"image": image, "text": text, "multimodal": torch.where(both, torch.maximum(image, text), image + text)}
    r_hat = symmetric(world.adjacency)[:n_users, n_users:]
    views = {}
    for view, spectrum in spectra.items():
        filtered = torch.fft.irfft(spectrum * torch.view_as_complex(parameters[f"filters.{view}"]), size, norm="ortho")
        gated = parameters["item_embedding"] * torch.sigmoid(linear(parameters, f"gates.{view}", filtered))
        rows = torch.linalg.matrix_power(graphs[view], s.n_item_layers) @ gated
        views[view] = torch.cat([r_hat @ rows, rows])
    tables = torch.cat([parameters["user_embedding"], parameters["item_embedding"]])
    ids = layer_mean(symmetric(world.adjacency), tables, s.n_layers)
    side = torch.sigmoid(linear(parameters, "preferences.multimodal", ids)) * views["multimodal"]
    for m in ("image", "text"):
        hidden = torch.tanh(linear(parameters, f"queries.{m}.0", views["multimodal"]))
        attended = linear(parameters, f"queries.{m}.2", hidden).softmax(dim=1) * views[m]
        side = side + torch.sigmoid(linear(parameters, f"preferences.{m}", ids)) * attended
    side = side / 3
    users, items = (ids + side).split([n_users, n_items])
    contrast = nce(side[n_users:][i], ids[n_users:][i]) + nce(side[u], ids[u])
    loss = ranking((users[u] * (items[i] - items[j])).sum(dim=1)) + s.contrast_weight * contrast
    return Answer(loss + s.l2_weight * l2(world, users[u], items[i], items[j]), users, items)


def content_graphs(world: World, k: int) -> dict[str, Tensor]:
    """Edges of pairs that are alike in both modalities."""
    values = {m: cosines(world.features[m]) for m in ("image", "text")}
    kept = (values["image"] >= values["image"].mean()) & (values["text"] >= values["text"].mean())
    allowed = (kept & (values["text"] != 0)).sum(dim=1).clamp(max=k)
    edges = {m: torch.zeros_like(table) for m, table in values.items()}
    for m, table in values.items():
        order = torch.where(kept, table, 0.0).argsort(dim=1, descending=True, stable=True)
        for row, count in enumerate(allowed.tolist()):
            edges[m][row, order[row, :count]] = 1.0
    return edges


def companions(world: World, n_companions: int, min_shared: int) -> Tensor:
    shared = world.interactions.T @ world.interactions
    edges = torch.eye(len(shared), dtype=shared.dtype)
    for item, counts in enumerate(shared.tolist()):
        others = [(-count, other) for other, count in enumerate(counts) if other != item and count >= min_shared]
        for _, other in sorted(others)[:n_companions]:
            edges[item, other] = 1.0
    return edges


def damrs(parameters: Parameters, world: World, batch: Tensor) -> Answer:
    s, (u, i, j) = world.settings, batch
    edges = content_graphs(world, s.k) | {"behaviour": companions(world, s.n_companions, s.min_shared_users)}
    views = {
        name: torch.linalg.matrix_power(symmetric(graph), s.n_item_layers) @ parameters["item_embedding"]
        for name, graph in edges.items()
    }
    tables = torch.cat([parameters["user_embedding"], parameters["item_embedding"]])
    users, ids = layer_mean(symmetric(world.adjacency), tables, s.n_layers).split(world.interactions.shape)
    mean_view = sum(views.values()) / 3
    items = ids + mean_view
    units = {name: unit(view) for name, view in views.items()}
    rows = torch.cat([i, j]).unique()
    chosen = users[u.unique()]
    neighbours = sum(discrimination(name, units, rows) for name in units) / 3
    p, q = (torch.sigmoid(chosen @ unit(table[rows]).T) for table in (ids, mean_view))
    loss = weighted_ranking(users[u], units, items, i, j) + s.neighbour_weight * neighbours
    return Answer(loss + s.kl_weight * (bernoulli_kl(p, q) + bernoulli_kl(q, p)).mean(), users, items)


def bernoulli_kl(p: Tensor, q: Tensor) -> Tensor:
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def discrimination(target: str, units: dict[str, Tensor], rows: Tensor) -> Tensor:
    chances = {name: (table[rows] @ table.T).softmax(dim=1).detach() for name, table in units.items()}
    e = torch.exp(units[target][rows] @ units[target].T / 0.2)
    near = (sum(chances.values()) + chances[target]).topk(10, dim=1).indices
    nearer = chances[target].scatter(1, near, 0.0).topk(10, dim=1).indices
    total, a, b = e.sum(dim=1), e.gather(1, near).sum(dim=1), e.gather(1, nearer).sum(dim=1)
    return (-torch.log(a / total + 1e-9) - torch.log(b / (total - a) + 1e-9)).mean()


def weighted_ranking(user: Tensor, units: dict[str, Tensor], items: Tensor, i: Tensor, j: Tensor) -> Tensor:
    liked, others = (
        torch.stack([torch.sigmoid((user * table[rows]).sum(dim=1)) for table in units.values()]).detach()
        for rows in (i, j)
    )
    mean = liked.mean(dim=0)
    certain = (mean * torch.exp(-2 * liked.var(dim=0, unbiased=True))).clamp(0, 1)
    doubtful = ((liked.max(dim=0).values - others.mean()) * (mean < others.mean())).clamp(0, 1)
    gap = (user * (items[i] - items[j])).sum(dim=1)
    return -(certain * torch.sigmoid(gap).log() + doubtful * torch.sigmoid(-gap).log()).mean()
