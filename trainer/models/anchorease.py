"""AnchorEASE, a smoothed spectral autoencoder with an anchor correction (docs/anchorease.md)."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from index.recency import Recency
from trainer.graph import SparseMatrix, smoothing_graph
from trainer.model_settings import AnchorEASESettings
from trainer.models.anchor_correction import (
    AnchorRegression,
    anchor_shares,
    anchors,
)
from trainer.models.base import Anchor, Factors, Inputs, Scorer, sum_tensors
from trainer.models.content_metric import content_metric
from trainer.models.content_rows import Content, column_mean, content_by_modality
from trainer.models.ease_filter import (
    CoOccurrences,
    ExactFilter,
    ItemFilter,
    Similarities,
    SpectralFilter,
    cosines_of,
)
from trainer.models.fitted import FittedModel, Tensors, Work
from trainer.models.spectral import Iteration, inverse, served_form
from trainer.models.user_rows import SummedMatrix, UserRows, column_squares
from trainer.nearest import nearest_items
from trainer.parallel import on_first_rank, sum_over_ranks

FOLD_IN, VALUES, PART, ANCHOR = "fold_in", "singular_values", "part/", "anchor/"
"""Names in the solution; parts and anchor weights by modality stand behind a prefix."""
MEAN = f"{ANCHOR}mean"
_AT_SERVING = {"kappa": 0.0, "rho": 0.0, "content_weight": 0.0}
"""Settings that enter `factors` alone."""


class AnchorEASE(FittedModel):
    """Scores x B of a user's items x, divided exactly at rank d among past items and parts of items."""

    iteration = Iteration()

    def __init__(self, settings: AnchorEASESettings, inputs: Inputs) -> None:
        super().__init__()
        self.settings, self._inputs = settings, inputs
        self._seed = int(torch.randint(2**31, ()))
        self._device = inputs.item_degrees.device
        self._share = inputs.share
        self._degrees = inputs.item_degrees.float()  # (n_items,)

    def solve(self, work: Work) -> Tensors:
        """All of the equations but those of serving; a solution that differs in these alone is computed once."""
        if self.start is not None:  # another start, another solution within the tolerance
            return self._solve(work)
        version = (self.settings.model_copy(update=_AT_SERVING), self._seed)
        return work.latest("anchorease", version, lambda: self._solve(work))

    def _solve(self, work: Work) -> Tensors:
        autoencoder = self.autoencoder(work)
        histories = UserRows(self._inputs.histories.matrix(self.recency), self._device, self._share)
        size, how = self.settings.embedding_size, self._how(work)
        form = served_form(histories, autoencoder.times, autoencoder.transposed_times, size, how)
        raw = autoencoder.raw_parts(form.sums)
        whole = sum_tensors(raw.values())
        for modality, graph in self._smoothing(work).items():
            share = self._sparse(graph) @ whole
            raw[modality] = raw[modality] + share if modality in raw else share
        fold_in = form.fold_in * inverse(form.values) ** -self.settings.spectral_power
        solution = {FOLD_IN: fold_in, VALUES: form.values} | {f"{PART}{name}": part for name, part in raw.items()}
        return solution | self._anchor(sum_tensors(raw.values()), work)

    @property
    def recency(self) -> Recency | None:
        """As set; without known times the order of a history says nothing, and all past items weigh alike."""
        return self.settings.recency if self._inputs.timed else None

    # Section 2: B = A B0 A

    @cached_property
    def content(self) -> Mapping[str, Content]:
        """F_m (n_items, width) of each modality."""
        return content_by_modality(self._inputs.features, self.centers)

    @cached_property
    def centers(self) -> dict[str, Tensor]:
        """(width,) the mean of each column of each modality's features."""
        return {m: column_mean(rows) for m, rows in self._inputs.features.items()}

    def autoencoder(self, work: Work) -> "Autoencoder":
        """B, with A = I + sum_m s_m W_m."""
        smooth = sum(self._smoothing(work).values(), sp.identity(self._inputs.n_items, format="csr"))
        return Autoencoder(self.settings, self._sparse(smooth), self._filter(work), self._degrees)

    def _smoothing(self, work: Work) -> dict[str, sp.csr_matrix]:
        """s_m W_m by modality."""
        shares = {m: getattr(self.settings.smoothing, m) for m in self.content}
        return {m: share * self._nearest(m, work) for m, share in shares.items() if share}

    def _nearest(self, modality: str, work: Work) -> sp.csr_matrix:
        def search() -> sp.csr_matrix:
            rows = self.content[modality]
            return smoothing_graph(nearest_items(rows.on_cpu(), self.settings.k + 1), rows.known.cpu().numpy())

        key = ("smoothing graph", modality, self.settings.k)
        return work.once(key, lambda: on_first_rank(self._share, search))

    def _rows(self) -> sp.csr_matrix:
        """Z = [sqrt(1 - theta) diag(d_u^-a) X ; windows] diag(n_i^-b); no windows where no order is known."""
        settings, histories = self.settings, self._inputs.histories
        theta = settings.order_share if self._inputs.timed else 0.0
        spans = histories.whole()
        weights = np.full(len(spans.users), 1 - theta)
        if theta:
            windows = histories.windows(settings.window, settings.stride)
            share = theta * settings.stride / settings.window
            spans, weights = spans.beside(windows), np.append(weights, np.full(len(windows.users), share))
        of_user = np.maximum(np.diff(histories.offsets), 1.0) ** (-2 * settings.user_power)
        rows = histories.rows_of(spans, weights * of_user[spans.users])
        by_item = sp.diags(self._degrees.clamp_min(1).cpu().numpy().astype(np.float64) ** -settings.row_power)
        return (rows @ by_item).tocsr().astype(np.float32)

    def _filter(self, work: Work) -> ItemFilter:
        """C, in the form that the size of the catalogue allows."""
        s = self.settings
        version = (s.user_power, s.row_power, s.order_share, s.window, s.stride)
        rows = work.latest("rows", version, self._rows)
        alpha = {m: getattr(s.feature_weights, m) for m in self.content}
        squares = column_squares(rows, self._share).to(self._device)
        mine = UserRows(rows, self._device, self._share)
        similarities = Similarities(mine, squares, self.content, alpha, s.ridge)
        direction = self._direction(similarities.scale, work)
        if math.isinf(s.ridge):
            return CoOccurrences(similarities, direction)
        if self._inputs.n_items > s.exact_up_to:
            return SpectralFilter(similarities, s.rank, replace(self._how(work), start=None), direction)
        counts = work.latest("co-occurrences", version, lambda: self._dense_counts(rows))
        cosines = {m: work.once(("cosines", m), partial(cosines_of, f)) for m, f in similarities.features.items()}
        dense = similarities.scale * counts.to(self._device)
        for modality, weight in similarities.weights.items():
            dense.add_(cosines[modality], alpha=weight)
        return ExactFilter(similarities, dense, cosines, direction)

    def _dense_counts(self, rows: sp.csr_matrix) -> Tensor:
        """Z^T Z (n_items, n_items)."""
        return sum_over_ranks(self._share, torch.from_numpy((rows.T @ rows).toarray().astype(np.float32)))

    def _direction(self, scale: float, work: Work) -> SparseMatrix | None:
        """phi D in the scale of K: D_ij is how often and how soon j follows i, less how often i follows j."""
        s, histories = self.settings, self._inputs.histories
        if not (s.direction and self._inputs.timed):
            return None
        version = (s.user_power, s.row_power, s.window)

        def count() -> sp.csr_matrix:
            of_user = np.maximum(np.diff(histories.offsets), 1.0) ** (-2 * s.user_power)
            by_item = sp.diags(self._degrees.clamp_min(1).cpu().numpy().astype(np.float64) ** -s.row_power)
            followed = by_item @ histories.followers(s.window, of_user, int(self._inputs.item_degrees.sum())) @ by_item
            return (followed - followed.T).tocsr()

        counted = work.latest("direction", version, count)
        return SummedMatrix(s.direction * scale * counted, self._device, self._share)

    def _how(self, work: Work) -> Iteration:
        here = replace(self.iteration, device=self._device, share=self._share)
        return replace(here, seed=self._seed, work=work, start=self.start)

    def _sparse(self, matrix: sp.csr_matrix) -> SparseMatrix:
        return SparseMatrix(matrix, self._device)

    # Section 3: the anchor correction

    def _anchor(self, items: Tensor, work: Work) -> Tensors:
        """mu and W', which predict the items' embeddings."""
        if not self.content:
            return {}
        scale, penalty = self.settings.anchor_scale, self.settings.anchor_penalty
        make = partial(AnchorRegression, self.content, self._degrees, scale.model_dump(), penalty)
        mean, weights = work.latest("anchor regression", (scale, penalty), make).solve(items)
        return {MEAN: mean} | {f"{ANCHOR}{m}": weight for m, weight in weights.items()}

    @property
    def anchor(self) -> Anchor | None:
        """Before the change of metric; None where no item is moved towards one."""
        if not self.settings.kappa or not self._inputs.features:
            return None
        weights = {m: self.solved(f"{ANCHOR}{m}") for m in self._inputs.features}
        return Anchor(self.solved(MEAN), weights, self.centers, self.settings.kappa, self.settings.rho)

    @property
    def parts(self) -> dict[str, Tensor]:
        """(n_items, d) by name, before the correction."""
        self.solved(f"{PART}id")
        return {name.removeprefix(PART): part for name, part in self.solution.items() if name.startswith(PART)}

    # What is served

    @property
    def scale(self) -> float:
        """sqrt(n_users) times E: scores of one size however many users there are; ranks do not change."""
        return math.sqrt(self._inputs.n_users)

    def factors(self) -> Factors:
        """Users are sums over their past items by recency and have nothing of their own."""
        fold_in, parts, anchor = self._items()
        users = UserRows(self._inputs.histories.matrix(self.recency), self._device) @ fold_in
        return Factors(users, parts, None, fold_in, recency=self.recency, anchor=anchor)

    def item_parts(self) -> Mapping[str, Tensor]:
        """As the factors have them, without any user."""
        return self._items().parts

    def scorer(self) -> Scorer:
        """Of the users asked for, by whole items; the metric of content, which changes no score, is left out."""
        fold_in, items = self.scale * self.solved(FOLD_IN), self._whole(*self._correction())
        histories = self._inputs.histories.matrix(self.recency)
        return lambda rows: (self._sparse(histories[rows.cpu().numpy()]) @ fold_in) @ items.T

    def _items(self) -> "_ItemSide":
        """Corrected and in the metric of content; no second set of the parts, which are large, is ever in memory."""
        fold_in, anchor, (kept, moved) = self.scale * self.solved(FOLD_IN), self.anchor, self._correction()
        if not (self.settings.content_weight and self.content):
            parts = {name: kept * part for name, part in self.parts.items()}
            return _ItemSide(fold_in, parts | moved, anchor)
        metric = content_metric(self._whole(kept, moved), self.content, self.settings.content_weight)
        parts = {name: (kept * part) @ metric.items for name, part in self.parts.items()}
        moved = {name: part @ metric.items for name, part in moved.items()}
        return _ItemSide(fold_in @ metric.users, parts | moved, metric.moved(anchor) if anchor else None)

    def _correction(self) -> tuple[Tensor, dict[str, Tensor]]:
        """1 - lambda_i (n_items, 1), the share of each part that stays, and lambda_i rho of the anchor as a part."""
        anchor = self.anchor
        if anchor is None:
            return self._degrees.new_ones(1), {}
        shares = anchor_shares(self._degrees, anchor.kappa)
        return 1 - shares, {"anchor": anchors(anchor, self.content).mul_(anchor.rho * shares)}

    def _whole(self, kept: Tensor, moved: Mapping[str, Tensor]) -> Tensor:
        """(n_items, d) what the corrected parts sum to."""
        whole = sum_tensors(self.parts.values()) * kept
        for part in moved.values():
            whole += part
        return whole

    def item_side(self, solution: Tensors) -> Tensor | None:
        """The items' embeddings before the correction: the subspace iteration starts from them."""
        return sum_tensors(part for name, part in solution.items() if name.startswith(PART))

    def truncated(self, d: int) -> "AnchorEASE":
        """The same model at a smaller embedding size: the leading columns of everything."""
        smaller = copy.copy(self)
        smaller.settings = self.settings.model_copy(update={"embedding_size": d})
        smaller.solution = {name: tensor[..., :d].contiguous() for name, tensor in self.solution.items()}
        return smaller


class _ItemSide(NamedTuple):
    """What is served of items."""

    fold_in: Tensor
    parts: dict[str, Tensor]
    anchor: Anchor | None


class Autoencoder:
    """B = A B0 A as products with blocks (n_items, b); B0_ij = n_i^-e C_ij n_j^c P_jj^-g, 0 on the diagonal."""

    def __init__(self, settings: AnchorEASESettings, smooth: SparseMatrix, filtered: ItemFilter, degrees: Tensor):
        self._smooth, self._filter = smooth, filtered
        n = degrees.clamp_min(1)
        unexplained = filtered.unexplained.clamp_min(torch.finfo(n.dtype).eps)
        self._input = (n**-settings.input_power)[:, None]
        self._output = (n**settings.output_power * unexplained**-settings.diagonal_power)[:, None]

    def times(self, block: Tensor) -> Tensor:
        """B times a block."""
        return self._smooth @ self.unsmoothed(self._smooth @ block)

    def unsmoothed(self, block: Tensor) -> Tensor:
        """B0 times a block."""
        return self._input * self._filter.towards(self._output * block)

    def transposed_times(self, block: Tensor) -> Tensor:
        """B^T times a block."""
        return self._smooth @ (self._output * self._filter.backwards(self._input * (self._smooth @ block)))

    def raw_parts(self, block: Tensor) -> dict[str, Tensor]:
        """B0^T A times a block, divided by what of the similarities it comes from: interactions, and each modality."""
        block = self._input * (self._smooth @ block)
        rest = self._output * self._filter.backwards(block)
        parts = {}
        for modality, content in self._filter.contents(block):
            parts[modality] = self._output * content
            rest = rest - parts[modality]
        return {"id": rest} | parts
