"""Replays recorded numbers of the reference implementations (docs/models.md#beside-the-references)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from index.errors import InputError
from trainer.golden.correspondence import Array, Correspondence, Golden
from trainer.graph import SparseMatrix
from trainer.inputs import make_inputs
from trainer.model_settings import ModelSettings
from trainer.models import GradientModel, Inputs, build_model
from trainer.models.noise import Noise


def replay(correspondence: Correspondence, golden: Golden) -> dict[str, float]:
    """The largest absolute difference of every recorded number.

    These are loss terms, gradients of the first batch, losses over the steps, parameters after the last one, and
    embeddings and scores before and after.
    """
    model, pairs = _build(correspondence, golden)
    differences = _compare_embeddings(model, correspondence, golden, "init")
    differences |= _compare_steps(model, correspondence, golden, pairs)
    return differences | _compare_embeddings(model, correspondence, golden, "final")


def _build(correspondence: Correspondence, golden: Golden) -> tuple[GradientModel, Tensor]:
    settings = correspondence.settings(golden)
    inputs = _inputs(correspondence, golden, settings)
    model = build_model(settings, inputs, batch_size=int(golden["cfg_train_batch_size"]), seed=0)
    assert isinstance(model, GradientModel)
    theirs = {ours: torch.from_numpy(golden[f"param/{name}"]) for ours, name in correspondence.parameters.items()}
    model.load_state_dict(theirs)
    return model, inputs.pairs


def _inputs(correspondence: Correspondence, golden: Golden, settings: ModelSettings) -> Inputs:
    users, items = golden["edges"].T
    features = {modality: golden[name].astype(np.float32) for modality, name in correspondence.features.items()}
    sizes = int(golden["n_users"]), int(golden["n_items"])
    cpu = torch.device("cpu")
    inputs = make_inputs(users, items, *sizes, features=features, settings=settings, device=cpu)
    given = {name: SparseMatrix(graph(golden), cpu) for name, graph in correspondence.graphs.items()}
    return replace(inputs, item_graphs={**inputs.item_graphs, **given})


class _Recorded(Noise):
    """The draws of one step, or of one inference, in the order in which the reference made them."""

    at_inference = True

    def __init__(self, golden: Golden, masks: str, gumbel: str, pairs: Tensor | None = None) -> None:
        self._golden, self._masks, self._gumbel, self._pairs = golden, masks, gumbel, pairs
        self._n_masks = self._n_gumbel = 0

    def dropout(self, like: Tensor, rate: float) -> Tensor:
        """The next recorded mask."""
        self._n_masks += 1
        return self._of_shape(f"{self._masks}/{self._n_masks - 1}", like)

    def dropout_rows(self, like: Tensor, rows: Tensor, rate: float) -> Tensor:
        """Those rows of the next recorded mask, which is of the whole table."""
        return self.dropout(like, rate)[rows]

    def gumbel(self, like: Tensor) -> Tensor:
        """The next recorded noise."""
        self._n_gumbel += 1
        return self._of_shape(f"{self._gumbel}/{self._n_gumbel - 1}", like)

    def sample(self, log_weights: Tensor, n: int) -> Tensor:
        """Where the recorded edges stand among ours."""
        assert self._pairs is not None
        kept = self._golden["edge_indices"][:, self._golden["kept_edge_idx"]]
        if kept.shape[1] != n:
            raise InputError(f"the golden file keeps {kept.shape[1]} edges; our model would keep {n}")
        places = {pair: i for i, pair in enumerate(zip(*self._pairs.tolist(), strict=True))}
        return torch.tensor([places[user, item] for user, item in kept.T.tolist()])

    def _of_shape(self, name: str, like: Tensor) -> Tensor:
        found = torch.from_numpy(self._golden[name]).float()
        if found.shape != like.shape:
            raise InputError(f"{name} has shape {tuple(found.shape)}; our model draws {tuple(like.shape)} there")
        return found


def _compare_steps(
    model: GradientModel, correspondence: Correspondence, golden: Golden, pairs: Tensor
) -> dict[str, float]:
    optimiser = torch.optim.Adam(model.parameters(), lr=float(golden["adam_lr"]))
    differences: dict[str, float] = {}
    losses = []
    model.train()
    for step, batch in enumerate(golden["batches"]):
        model.noise = _Recorded(golden, f"dropmask/step{step}", f"gumbel/step{step}", pairs)
        if step == 0:
            model.begin_epoch()
        optimiser.zero_grad()
        terms = model.loss_terms(*(torch.from_numpy(rows) for rows in batch))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if step == 0:
            differences |= _compare_terms(terms, correspondence, golden)
            differences |= _compare_parameters(model, correspondence, golden, "grad", lambda p: p.grad)
        optimiser.step()
    differences["losses"] = gap(np.array(losses), golden["losses"])
    return differences | _compare_parameters(model, correspondence, golden, "param_after", lambda p: p)


def _compare_terms(terms: Mapping[str, Tensor], correspondence: Correspondence, golden: Golden) -> dict[str, float]:
    differences = {}
    for name, term in correspondence.terms.items():
        expected = term.value(golden)
        # A weight of 0 leaves a term out on our side.
        difference = gap(terms.get(name, torch.zeros(())), np.array(expected))
        scale = abs(expected) if correspondence.relative_terms and expected else 1.0
        differences[f"term/{name}"] = difference / scale
    return differences


def _compare_parameters(
    model: GradientModel,
    correspondence: Correspondence,
    golden: Golden,
    kind: str,
    value: Callable[[Tensor], Tensor | None],
) -> dict[str, float]:
    ours = dict(model.named_parameters())
    recorded = {our_name: f"{kind}/{name}" for our_name, name in correspondence.parameters.items()}
    # The reference has no gradient where a parameter takes no part; then neither must we.
    return {
        name: gap(_or_zeros(value(ours[our_name]), golden[name]), golden[name])
        if name in golden
        else _unused(ours[our_name])
        for our_name, name in recorded.items()
    }


def _or_zeros(value: Tensor | None, recorded: Array) -> Tensor:
    """Of a term of weight 0 the reference has gradients of 0 where ours, which leaves it out, has none."""
    return torch.zeros(recorded.shape) if value is None else value


def _unused(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float(parameter.grad.abs().max())


def _compare_embeddings(
    model: GradientModel, correspondence: Correspondence, golden: Golden, moment: str
) -> dict[str, float]:
    model.eval()
    model.noise = _Recorded(golden, "", f"{moment}_eval_gumbel")
    with torch.no_grad():
        users, items = model.embeddings()
        ours = {"user": users, "item": items, "scores": users @ items.T, **correspondence.inside(model)}
    return {f"{moment}_{name}": gap(value, golden[f"{moment}_{name}"]) for name, value in ours.items()}


def gap(ours: Any, theirs: Array) -> float:
    """Largest absolute difference; infinite where one side has no number."""
    mine = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    if mine.shape != theirs.shape:
        raise InputError(f"shape {mine.shape} of our side does not match {theirs.shape} in the golden file")
    difference = np.abs(mine.astype(np.float64) - theirs).max(initial=0.0)
    return float(difference) if np.isfinite(difference) else float("inf")
