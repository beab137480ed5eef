"""Losses: pure functions of tensors, each named after its source (MODELS.md, section 2)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize


def bpr(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """BPR-B: -mean log sigma(x_ui - x_uj) (Rendle et al., 2012). Inputs (B,)."""
    return -logsigmoid(positive_scores - negative_scores).mean()


def bpr_clipped(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """BPR-A: the form with 1e-10 inside the logarithm, as the reference BPR and LightGCN have it."""
    return -torch.log(1e-10 + torch.sigmoid(positive_scores - negative_scores)).mean()


def frobenius_penalty(*tables: Tensor) -> Tensor:
    """FRO: sum of Frobenius norms, not squared, over the row count of the last table."""
    return torch.stack([table.norm() for table in tables]).sum() / len(tables[-1])


def squared_norms(*tables: Tensor, batch_size: int) -> Tensor:
    """L2: half the squared norms of the batch's rows over the *configured* batch size, as published."""
    return 0.5 * torch.stack([table.square().sum() for table in tables]).sum() / batch_size


def cosine_gap(a: Tensor, b: Tensor) -> Tensor:
    """1 - mean cosine of matching rows (B, d) (AlignRec's user-item term)."""
    return 1.0 - torch.cosine_similarity(a, b, dim=1).mean()


def cosine_margin(users: Tensor, positives: Tensor, negatives: Tensor, margin: float = 0.2) -> Tensor:
    """mean ReLU(margin + cos(u, j) - cos(u, i)); users (B, d) without gradient (released AnchorRec)."""
    users = users.detach()
    gap = torch.cosine_similarity(users, negatives, dim=1) - torch.cosine_similarity(users, positives, dim=1)
    return torch.relu(margin + gap).mean()


def info_nce(rows: Tensor, targets: Tensor, temperature: float, *, both_directions: bool = False) -> Tensor:
    """NCE: each row against its own target among all targets of the batch (paper, equation 2). Inputs (B, d).

    With `both_directions`, the mean of that and of each target against all rows.
    """
    logits = normalize(rows, eps=1e-12) @ normalize(targets, eps=1e-12).T / temperature  # (B, B)
    own = torch.arange(len(rows), device=rows.device)
    towards = cross_entropy(logits, own)
    return 0.5 * (towards + cross_entropy(logits.T, own)) if both_directions else towards


def similarity_gap(embeddings: Tensor, unit_features: Tensor, *, sampled_rows: int = 256) -> Tensor:
    """AMP (paper, equation 3): mean over pairs i != j of (cos(h_i, h_j) - cos(f_i, f_j))^2.

    With unit rows E and F the sum over all pairs is ||E^T E||^2 - 2 ||F^T E||^2 + ||F F^T||^2 (Frobenius): two small
    products in place of (B, B) matrices. The gradient is exact. The last term has none and would cost more than all
    the rest of a step, so beyond `sampled_rows` items it is estimated, without bias, from that many of them.

    Args:
        embeddings: (B, d) learned embeddings h of distinct items, in an order that says nothing of them.
        unit_features: (B, width) their features, unit rows; no gradient.
        sampled_rows: items from which the constant is estimated.
    """
    unit = normalize(embeddings, eps=1e-12)
    moving = (unit.T @ unit).square().sum() - 2.0 * (unit_features.T @ unit).square().sum()
    with torch.no_grad():
        constant = _sum_of_squared_products(unit_features, sampled_rows)
    return (moving + constant) / max(len(unit) * (len(unit) - 1), 1)


def _sum_of_squared_products(rows: Tensor, sampled_rows: int) -> Tensor:
    """||F F^T||_F^2: its diagonal exactly, the rest scaled up from evenly spaced rows where there are more."""
    n = len(rows)
    sample = rows[torch.linspace(0, n - 1, min(n, sampled_rows), device=rows.device).long()]
    products = (sample @ sample.T).square()
    off_diagonal = products.sum() - products.diagonal().sum()
    scale = n * (n - 1) / max(len(sample) * (len(sample) - 1), 1)
    return rows.square().sum(dim=1).square().sum() + scale * off_diagonal


def similarity_gap_frobenius(embeddings: Tensor, unit_features: Tensor) -> Tensor:
    """SIM: ||E E^T - cos(F)||_F / B with unnormalised products, as the released code has AMP."""
    gap = embeddings @ embeddings.T - unit_features @ unit_features.T  # (B, B)
    return gap.square().sum().sqrt() / len(embeddings)


def smoothness(embeddings: Tensor, smoothed: Tensor, weights: Tensor, n_edges: int) -> Tensor:
    """1/|E| sum over edges (a, b) of o_ab ||z_a - z_b||^2 (released AnchorRec), without visiting the edges.

    Equal to sum_a (row sum + column sum of O)_a ||z_a||^2 - 2 sum_a z_a . (O z)_a.

    Args:
        embeddings: z (n_items, d).
        smoothed: O z (n_items, d).
        weights: (n_items,) row sum plus column sum of O.
        n_edges: stored entries of O.
    """
    return ((weights * embeddings.square().sum(dim=1)).sum() - 2.0 * (embeddings * smoothed).sum()) / n_edges
