"""AnchorRec written down as its formulas stand (docs/anchorrec.md#equations): dense matrices, every pair, no short cut.

It is what the fast model is compared with, and records files of the kind that `verify-golden` replays, of any size.
Names of parameters are the released code's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid, relu

MODALITIES = ("mm", "t", "v")
FEATURES = {"mm": "feat_m", "t": "feat_t", "v": "feat_v"}
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """Graphs of one data set, and the settings by their names in a golden file."""

    n_users: int
    interactions: Tensor
    """R-hat (n_users, n_items)"""
    item_graphs: Mapping[str, Tensor]
    """(n_items, n_items) by modality"""
    settings: Mapping[str, Any]


def make_world(golden: Mapping[str, Any]) -> World:
    """From `edges`, features and `cfg_*`."""
    pairs = torch.zeros(int(golden["n_users"]), int(golden["n_items"]), dtype=torch.float64)
    pairs[golden["edges"][:, 0], golden["edges"][:, 1]] = 1
    roots = torch.outer(pairs.sum(1), pairs.sum(0)).sqrt()
    settings = {name.removeprefix("cfg_"): value for name, value in golden.items() if name.startswith("cfg_")}
    features = {m: torch.from_numpy(golden[name]).double() for m, name in FEATURES.items() if name in golden}
    graphs = {m: item_graph(table, settings["knn_k"]) for m, table in features.items()}
    normalised = torch.where(pairs > 0, pairs / roots, torch.zeros(()))
    return World(len(pairs), normalised.float(), graphs, settings)


def item_graph(features: Tensor, k: int) -> Tensor:
    """KW_k: the k largest cosines of each row, scaled by the roots of row sums on both sides."""
    similar = cosines(features)
    kept = torch.zeros_like(similar).scatter(1, similar.topk(k).indices, 1) * similar
    scale = kept.sum(1).rsqrt()
    return (scale[:, None] * kept * scale[None, :]).float()


def cosines(rows: Tensor) -> Tensor:
    """Of every pair of rows."""
    unit = rows / rows.norm(dim=1, keepdim=True)
    return unit @ unit.T


def layer_mean(world: World, users: Tensor, items: Tensor) -> Tensor:
    """LGC_L over the whole (n_users + n_items)^2 matrix."""
    r = world.interactions
    adjacency = torch.cat(
        [torch.cat([torch.zeros(len(r), len(r)), r], 1), torch.cat([r.T, torch.zeros(2 * [r.shape[1]])], 1)]
    )
    layers = [torch.cat([users, items])]
    for _ in range(world.settings["n_ui_layers"]):
        layers.append(adjacency @ layers[-1])
    return torch.stack(layers).mean(0)


def mlp(p: Parameters, name: str, rows: Tensor) -> Tensor:
    """Linear-ReLU-Linear."""
    hidden = relu(linear(rows, p[f"{name}.0.weight"], p[f"{name}.0.bias"]))
    return linear(hidden, p[f"{name}.2.weight"], p[f"{name}.2.bias"])


def refined(p: Parameters, world: World, modality: str, features: Tensor) -> Tensor:
    """h^m of items."""
    low = linear(features, p[f"{modality}_trs.weight"], p[f"{modality}_trs.bias"])
    gate = torch.sigmoid(linear(low, p[f"gate_{modality}.0.weight"], p[f"gate_{modality}.0.bias"]))
    rows = p["item_id_embedding.weight"] * gate
    for _ in range(world.settings["n_layers"]):
        rows = world.item_graphs[modality] @ rows
    return rows


def info_nce(rows: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Each row against its own target among all of them."""
    rows, targets = (x / x.norm(dim=1, keepdim=True).clamp_min(1e-12) for x in (rows, targets))
    likeness = (rows @ targets.T / temperature).exp()
    return -(likeness.diagonal() / likeness.sum(1)).log().mean()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of matching rows."""
    return (a * b).sum(1) / (a.norm(dim=1).clamp_min(1e-8) * b.norm(dim=1).clamp_min(1e-8))


def half_squares(world: World, *rows: Tensor) -> Tensor:
    """L2: over the configured batch size, whatever the batch's."""
    return 0.5 * torch.stack([x.square().sum() for x in rows]).sum() / world.settings["train_batch_size"]


# The released code


def released_inside(p: Parameters, world: World) -> dict[str, Tensor]:
    """Every embedding that a golden file names: of users then items, or of items alone for the projections."""
    tables = {m: p[f"{m}_embedding.weight"] for m in MODALITIES}
    items = {m: refined(p, world, m, tables[m]) for m in MODALITIES}
    content = layer_mean(world, p["user_embedding.weight"], p["item_id_embedding.weight"])
    found = {m: torch.cat([world.interactions @ items[m], items[m]]) for m in MODALITIES} | {"content": content}
    found |= {"p_mm": mlp(p, "W_mm_i", items["mm"]), "p_id": mlp(p, "W_id_i", content[world.n_users :])}
    found |= {f"p_{m}": mlp(p, f"W_{m}", tables[m].detach()) for m in ("t", "v")}
    users, ids = content[: world.n_users], content[world.n_users :]
    found["user"] = users + world.interactions @ items["mm"] + world.interactions @ items["t"]
    correction = world.settings["recover_lambda"] * mlp(p, "D_mm2id", found["p_mm"])
    return found | {"item": ids + items["mm"] + items["t"] + correction}


def released_terms(p: Parameters, world: World, batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The terms without their weights, as a golden file has them, and the loss."""
    cfg, inside = world.settings, released_inside(p, world)
    users, positives, negatives = batch
    u, i, j = inside["user"][users], inside["item"][positives], inside["item"][negatives]
    anchor = inside["p_mm"][positives]
    mixture = 0.75 * inside["p_t"][positives] + 0.25 * inside["p_v"][positives]

    def gap(modality: str) -> Tensor:
        rows = inside[modality][world.n_users :][positives]
        given = cosines(p[f"{modality}_embedding.weight"].detach()[positives])
        return (rows @ rows.T - given).norm() / len(rows)

    graph, origin = world.item_graphs["mm"], inside["mm"][world.n_users :]
    apart = (origin[:, None, :] - origin[None, :, :]).square().sum(2)
    terms = {
        "bpr": -logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean(),
        "ui_margin": relu(0.2 + cosine(u.detach(), j) - cosine(u.detach(), i)).mean(),
        "l2": half_squares(world, u, i, j),
        "aal_id": info_nce(anchor, inside["p_id"][positives], cfg["tau_weight"]),
        "aal_mix": info_nce(anchor.detach(), mixture, cfg["tau_weight"]),
        "amp_mm": gap("mm"),
        "amp_t": gap("t"),
        "amp_v": gap("v"),
        "graph_smooth": (graph * apart).sum() / (len(graph) * cfg["knn_k"]),
    }
    weights = {
        "ui_margin": cfg["ui_cosine_loss_weight"] * cfg["ui_cosine_loss"],
        "l2": cfg["lambda_weight"],
        "aal_id": cfg["aal_loss"],
        "aal_mix": cfg["aal_loss"],
        "amp_mm": cfg["amp_loss"],
        "amp_t": cfg["amp_loss"] * 0.03,
        "amp_v": cfg["amp_loss"] * 0.01,
        "graph_smooth": 0.1,
    }
    return terms, torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()


# The paper


def paper_loss(p: Parameters, world: World, batch: Tensor, features: Mapping[str, Tensor]) -> Tensor:
    """At the settings of a golden file, AlignRec's cosine term, both directions, and distinct items."""
    cfg = world.settings
    users, positives, negatives = batch
    items = {m: refined(p, world, m, features[m]) for m in MODALITIES}
    content = layer_mean(world, p["user_embedding.weight"], p["item_id_embedding.weight"])
    ids = content[world.n_users :]
    projected = {m: mlp(p, name, rows) for (m, name), rows in zip(PROJECTIONS, (ids, *items.values()), strict=True)}
    fused = ids + items["mm"] + items["t"] + items["v"] + cfg["recover_lambda"] * projected["mm"]
    side = world.interactions @ (items["mm"] + items["t"] + items["v"])
    u, i, j = (content[: world.n_users] + side)[users], fused[positives], fused[negatives]
    once = positives.unique()
    anchor = projected["mm"][once]
    mixture = 0.75 * projected["t"][once] + 0.25 * projected["v"][once]

    def aligned(a: Tensor, b: Tensor) -> Tensor:
        return (info_nce(a, b, cfg["tau_weight"]) + info_nce(b, a, cfg["tau_weight"])) / 2

    apart = ~torch.eye(len(once), dtype=torch.bool)
    preserved = [(cosines(items[m][once]) - cosines(features[m][once])).square()[apart].mean() for m in MODALITIES]
    aal = aligned(projected["id"][once], anchor) + aligned(mixture, anchor.detach())
    return (
        -logsigmoid((u * i).sum(1) - (u * j).sum(1)).mean()
        + cfg["ui_cosine_loss_weight"] * (1 - cosine(u, i).mean())
        + cfg["lambda_weight"] * half_squares(world, u, i, j)
        + cfg["aal_loss"] * aal
        + cfg["amp_loss"] * torch.stack(preserved).sum()
    )


PROJECTIONS = (("id", "W_id_i"), ("mm", "W_mm_i"), ("t", "W_t"), ("v", "W_v"))


# Recording


SIZES: dict[str, Any] = {
    "n_users": 30,
    "n_items": 24,
    "n_pairs": 120,
    "batch": 32,
    "widths": {"mm": 28, "t": 20, "v": 40},
}
SETTINGS: dict[str, Any] = {
    "embedding_size": 16,
    "n_ui_layers": 2,
    "n_layers": 1,
    "knn_k": 4,
    "train_batch_size": 48,
    "aal_loss": 0.1,
    "amp_loss": 0.3,
    "lambda_weight": 0.01,
    "tau_weight": 0.25,
    "recover_lambda": 0.5,
    "ui_cosine_loss": True,
    "ui_cosine_loss_weight": 0.01,
}


def draw(seed: int = 0, *, variant: str = "released", **changed: Any) -> dict[str, Any]:
    """Data, settings, batches and initial parameters; `changed` sizes and settings by name."""
    rng = np.random.default_rng(seed)
    sizes = SIZES | {name: value for name, value in changed.items() if name in SIZES}
    settings = SETTINGS | {name: value for name, value in changed.items() if name in SETTINGS}
    assert changed.keys() <= sizes.keys() | settings.keys()
    n_users, n_items = sizes["n_users"], sizes["n_items"]
    edges = np.stack(np.divmod(rng.choice(n_users * n_items, sizes["n_pairs"], replace=False), n_items), 1)
    chosen = rng.integers(0, len(edges), (4, sizes["batch"]))
    batches = np.stack([edges[chosen, 0], edges[chosen, 1], rng.integers(0, n_items, chosen.shape)], 1)
    features = {
        FEATURES[m]: rng.normal(0.4, 1, (n_items, width)).astype(np.float32) for m, width in sizes["widths"].items()
    }
    parameters = {
        name: rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        for name, shape in _shapes(sizes, settings["embedding_size"], variant).items()
    }
    if variant == "released":
        parameters |= {f"{m}_embedding.weight": features[FEATURES[m]] for m in MODALITIES}
    return {
        "n_users": n_users,
        "n_items": n_items,
        "edges": edges,
        "batches": batches,
        "adam_lr": 1e-3,
        **{f"cfg_{name}": value for name, value in settings.items()},
        **features,
        **{f"param/{name}": value for name, value in parameters.items()},
    }


def _shapes(sizes: Mapping[str, Any], size: int, variant: str) -> dict[str, tuple[int, ...]]:
    widths: Mapping[str, int] = sizes["widths"]
    shapes: dict[str, tuple[int, ...]] = {}
    shapes |= {"user_embedding.weight": (sizes["n_users"], size), "item_id_embedding.weight": (sizes["n_items"], size)}
    inner = {"W_id_i": size, "W_mm_i": size, "W_t": size, "W_v": size}
    if variant == "released":
        inner |= {"D_mm2id": size, "W_t": widths["t"], "W_v": widths["v"]}
    for name, width in inner.items():
        shapes |= {f"{name}.0.weight": (size, width), f"{name}.0.bias": (size,)}
        shapes |= {f"{name}.2.weight": (size, size), f"{name}.2.bias": (size,)}
    for m in MODALITIES:
        shapes |= {f"{m}_trs.weight": (size, widths[m]), f"{m}_trs.bias": (size,)}
        shapes |= {f"gate_{m}.0.weight": (size, size), f"gate_{m}.0.bias": (size,)}
    return shapes


def record(golden: dict[str, Any]) -> dict[str, Any]:
    """A released-code file: four Adam steps, with all that the reference's own files hold and `verify-golden` reads."""
    world = make_world(golden)
    # The tables of raw features and their trained copies are one: `released_inside` reads what training has moved.
    p = {
        name.removeprefix("param/"): torch.from_numpy(v.copy())
        for name, v in golden.items()
        if name.startswith("param/")
    }
    optimiser = torch.optim.Adam([value.requires_grad_() for value in p.values()], lr=golden["adam_lr"])
    found: dict[str, Any] = _named("init", p, world)
    losses = []
    for step, batch in enumerate(torch.from_numpy(golden["batches"])):
        optimiser.zero_grad()
        terms, loss = released_terms(p, world, batch)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            found |= {f"sheetterm/{name}": term.item() for name, term in terms.items()}
            found |= {f"grad/{name}": value.grad.numpy().copy() for name, value in p.items() if value.grad is not None}
        optimiser.step()
    found |= {f"param_after/{name}": value.detach().numpy() for name, value in p.items()}
    return golden | found | _named("final", p, world) | {"losses": np.array(losses)}


def _named(moment: str, p: Parameters, world: World) -> dict[str, Any]:
    with torch.no_grad():
        inside = released_inside(p, world)
        inside["scores"] = inside["user"] @ inside["item"].T
    return {f"{moment}_{name}": value.numpy() for name, value in inside.items()}
