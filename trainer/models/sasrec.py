"""SASRec (Kang & McAuley, 2018; docs/models.md#sasrec), with a softmax for its loss."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu, scaled_dot_product_attention

from trainer.model_settings import SASRecSettings
from trainer.models.base import Factors, GradientModel, Inputs
from trainer.models.propagation import free_users
from trainer.models.windows import Sequences, Windows
from trainer.parallel import WHOLE, Share

WINDOWS_AT_ONCE = 256
"""Windows of about equal length that are read together, padded to the longest of them."""


class SASRec(GradientModel):
    """A causal transformer over a user's latest items; its last state is scored against the item table."""

    def __init__(self, settings: SASRecSettings, inputs: Inputs) -> None:
        super().__init__()
        self._settings, self._inputs = settings, inputs
        size = settings.embedding_size
        self._sequences = Sequences(inputs.histories, settings.max_length, inputs.item_degrees.device)
        self.item_embedding = small_normal(inputs.n_items, size)
        self.start = small_normal(1, size)
        self.position = small_normal(settings.max_length, size)
        self.blocks = nn.ModuleList(Block(size, settings.n_heads, settings.dropout) for _ in range(settings.n_blocks))
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(settings.dropout)

    def loss_terms(
        self, users: Tensor, positives: Tensor, negatives: Tensor, *, share: Share = WHOLE
    ) -> dict[str, Tensor]:
        """-log softmax of each positive at the token before it. Of several ranks the first computes it alone."""
        return share.take({"softmax": lambda: self._softmax_loss(users, positives)})

    def _softmax_loss(self, users: Tensor, positives: Tensor) -> Tensor:
        places = self._sequences.of_targets(users, positives)
        states, offsets = self._states(places.windows)
        predicted = states[offsets[places.rows] + places.within]
        n, n_items = self._settings.n_negatives, self._inputs.n_items
        if not n:
            return cross_entropy(predicted @ self.item_embedding.T, positives)
        drawn = torch.randint(n_items, (n,), device=users.device)
        others = predicted @ self.item_embedding[drawn].T + math.log(n_items / n)
        others = others.masked_fill(drawn == positives[:, None], -torch.inf)
        scores = torch.cat([(predicted * self.item_embedding[positives]).sum(dim=1, keepdim=True), others], dim=1)
        return cross_entropy(scores, torch.zeros_like(positives))

    def _states(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """States at all tokens of the windows, (sum of lengths, d), and where those of each window begin, (w,)."""
        order = windows.lengths.argsort(stable=True)
        parts = torch.split(order, WINDOWS_AT_ONCE)
        states = [self._read(windows.starts[part], windows.lengths[part]) for part in parts]
        lengths = windows.lengths[order]
        offsets = torch.empty_like(lengths)
        offsets[order] = lengths.cumsum(0) - lengths
        return torch.cat(states), offsets

    def _read(self, starts: Tensor, lengths: Tensor) -> Tensor:
        """States of windows (w,), window by window; what a window is padded with comes later and changes none."""
        places = torch.arange(int(lengths.max()), device=starts.device)
        tokens = self._sequences.tokens
        table = torch.cat([self.item_embedding, self.start]) * math.sqrt(self.item_embedding.shape[1])
        at = (starts[:, None] + places).clamp(max=len(tokens) - 1)
        states = self.dropout(table[tokens[at]] + self.position[places])  # (w, longest, d)
        for block in self.blocks:
            states = block(states)
        return self.norm(states[places < lengths[:, None]])  # type: ignore[no-any-return]

    def embeddings(self) -> tuple[Tensor, Tensor]:
        """Each user's last state, and the item table."""
        latest = self._sequences.latest()
        states, offsets = self._states(latest)
        return states[offsets + latest.lengths - 1], self.item_embedding

    def factors(self) -> Factors:
        """One part, `id`; a state is no sum over items, so folding in is an approximation."""
        users, items = self.embeddings()
        return free_users(users, {"id": items}, self._inputs)


class Block(nn.Module):
    """Causal self-attention and a layer for each place, each with a norm before it and added to its input."""

    def __init__(self, size: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self._n_heads = n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2))
        self.query_key_value = nn.Linear(size, 3 * size)
        self.attended = nn.Linear(size, size)
        self.inner, self.outer = nn.Linear(size, size), nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(w, length, d) -> (w, length, d)"""
        states = states + self.dropout(self._attend(self.norms[0](states)))
        hidden = self.dropout(relu(self.inner(self.norms[1](states))))
        whole: Tensor = states + self.dropout(self.outer(hidden))
        return whole

    def _attend(self, states: Tensor) -> Tensor:
        n, length, size = states.shape
        heads = self.query_key_value(states).view(n, length, 3, self._n_heads, size // self._n_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (w, heads, length, d / heads) each
        found = scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: Tensor = self.attended(found.transpose(1, 2).reshape(n, length, size))
        return mixed


def small_normal(rows: int, size: int) -> nn.Parameter:
    """A table of normal numbers with deviation 0.02."""
    return nn.Parameter(nn.init.normal_(torch.empty(rows, size), std=0.02))
