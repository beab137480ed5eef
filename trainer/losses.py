"""Losses: pure functions of tensors, each named after its source (docs/models.md#losses)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize


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


def contrast_with_all(rows: Tensor, views: Tensor, everything: Tensor, temperature: float) -> Tensor:
    """SSL (LGMRec): *sum* over the batch of each row's view against the row's own among all. (B,), (n, d), (n, d)."""
    distinct, counts = torch.unique(rows, return_counts=True)
    views, everything = normalize(views[distinct], eps=1e-12) / temperature, normalize(everything, eps=1e-12)
    own = (views * everything[distinct]).sum(dim=1)
    total: Tensor = ((log_sum_exp(views, everything) - own) * counts).sum()
    return total


def info_nce_of(rows: Tensor, embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """NCE of a batch's rows, (B,), of two tables (n, d): a row that the batch has twice is its own false negative.

    Equal to `info_nce` of the gathered rows, at the cost of the distinct ones.
    """
    distinct, counts = torch.unique(rows, return_counts=True)
    return info_nce(embeddings[distinct], targets[distinct], temperature, counts=counts)


def info_nce(
    rows: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    both_directions: bool = False,
    counts: Tensor | None = None,
) -> Tensor:
    """NCE: each row against its own target among all targets of the batch ("Anchored Alignment", eq. 2). Inputs (B, d).

    Args:
        rows, targets: (n, d).
        temperature: tau.
        both_directions: the mean of that and of each target against all rows.
        counts: (n,) how often each of them stands in the batch; None for once each.
    """
    rows, targets = normalize(rows, eps=1e-12) / temperature, normalize(targets, eps=1e-12)
    often = None if counts is None else counts.to(rows.dtype)  # whole numbers would divide into float32
    share = rows.new_full((len(rows),), 1.0 / len(rows)) if often is None else often / often.sum()
    bias = None if often is None else often.log()
    own = (rows * targets).sum(dim=1)
    towards = (share * (log_sum_exp(rows, targets, bias) - own)).sum()
    if not both_directions:
        return towards
    return 0.5 * (towards + (share * (log_sum_exp(targets, rows, bias) - own)).sum())


def log_sum_exp(rows: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """log sum_s exp(r . t_s + bias_s) for each row r: (m, d), (n, d), (n,) without gradient -> (m,)."""
    products = rows.detach() @ targets.detach().T
    sums, largest = sums_exp(rows, targets, products if bias is None else products.add_(bias))
    return largest + sums.log()


def sums_exp(rows: Tensor, targets: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """sum_s exp(r . t_s - largest_r) for each row r, and its largest product, without gradient. (m,), (m,).

    Args:
        rows, targets: (m, d), (n, d).
        products: (m, n) of both, without gradient; used up.
    """
    sums, largest = _SumsExp.apply(rows, targets, products)  # type: ignore[no-untyped-call]
    return sums, largest


class _SumsExp(torch.autograd.Function):
    """The products are turned into exponentials in place; the derivative is two products of those."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, targets: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        largest = products.amax(dim=1)
        weights = products.sub_(largest[:, None]).exp_()
        ctx.save_for_backward(rows, targets, weights)
        ctx.mark_non_differentiable(largest)
        return weights.sum(dim=1), largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, targets, weights = ctx.saved_tensors
        return (weights @ targets) * gradient[:, None], weights.T @ (rows * gradient[:, None]), None


def similarity_gap(
    embeddings: Tensor, unit_features: Tensor, counts: Tensor | None = None, *, sampled_rows: int | None = 256
) -> Tensor:
    """AMP ("Anchored Alignment", eq. 3): mean over pairs r != s of a batch of (cos(h_r, h_s) - cos(f_r, f_s))^2.

    The gradient is exact. The part without gradient would cost more than all the rest of a step, so beyond
    `sampled_rows` items it is estimated, without bias, from that many of them.

    Args:
        embeddings: (n, d) learned embeddings h of the batch's distinct items, in an order that says nothing of them.
        unit_features: (n, width) their features, unit rows; no gradient.
        counts: (n,) how often each of them stands in the batch; None for once each.
        sampled_rows: items from which the constant is estimated; None for all.
    """
    batch_size = _batch_size(embeddings, counts)
    gap = _squared_gram_gap(normalize(embeddings, eps=1e-12), unit_features, counts, sampled_rows)
    return gap / max(batch_size * (batch_size - 1), 1)


def similarity_gap_frobenius(embeddings: Tensor, unit_features: Tensor, counts: Tensor | None = None) -> Tensor:
    """SIM: ||E E^T - cos(F)||_F / B over the B rows of a batch, unnormalised products, as the released code has AMP.

    Inputs as for `similarity_gap`.
    """
    return _squared_gram_gap(embeddings, unit_features, counts, None).sqrt() / _batch_size(embeddings, counts)


def _batch_size(rows: Tensor, counts: Tensor | None) -> int:
    return len(rows) if counts is None else int(counts.sum())


def _squared_gram_gap(rows: Tensor, targets: Tensor, counts: Tensor | None, sampled_rows: int | None) -> Tensor:
    """||E E^T - F F^T||_F^2 over a batch in which item i, a row of E and of F, occurs counts[i] times.

    Equal to ||E^T E||^2 - 2 ||F^T E||^2 + ||F F^T||^2 with rows scaled by the root of their count: products of the
    size of the widths, and of distinct items only, in place of (B, B) matrices.
    """
    e, f = (rows, targets) if counts is None else _times_root(counts, rows, targets)
    with torch.no_grad():
        constant = _squared_products(f, sampled_rows)
    return (e.T @ e).square().sum() - 2.0 * (f.T @ e).square().sum() + constant


def _times_root(counts: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
    scale = counts.to(tables[0].dtype).sqrt()[:, None]
    return tuple(scale * table for table in tables)


def _squared_products(rows: Tensor, sampled_rows: int | None) -> Tensor:
    """||F F^T||_F^2; from a sample its diagonal exactly and the rest scaled up from evenly spaced rows."""
    n, width = rows.shape
    if sampled_rows is None or n <= sampled_rows:
        return _squared_gram(rows if n <= width else rows.T)
    sample = rows[torch.linspace(0, n - 1, sampled_rows, device=rows.device).long()]
    products = (sample @ sample.T).square()
    off_diagonal = products.sum() - products.diagonal().sum()
    scale = n * (n - 1) / (sampled_rows * (sampled_rows - 1))
    diagonal: Tensor = torch.linalg.vector_norm(rows, dim=1).pow(4).sum()
    return diagonal + scale * off_diagonal


def _squared_gram(rows: Tensor, block: int = 256) -> Tensor:
    """||A A^T||_F^2, which is symmetric: blocks on and above the diagonal, those above counted twice."""
    total = rows.new_zeros(())
    for start in range(0, len(rows), block):
        part, after = rows[start : start + block], rows[start + block :]
        total = total + (part @ part.T).square().sum() + 2.0 * (part @ after.T).square().sum()
    return total


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
