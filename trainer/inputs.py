"""From a data set to what models are built of: graphs and features on the device."""

from typing import Any

import numpy as np
import torch

from trainer.config import AnchorRecSettings, ModelSettings
from trainer.data import Dataset
from trainer.encoders import fuse
from trainer.graph import SparseMatrix, interaction_matrix, item_graph, normalise_interactions, unit_rows
from trainer.models.anchorrec import ANCHOR, SINGLE_MODALITIES
from trainer.models.base import Inputs

Array = np.ndarray[Any, np.dtype[Any]]


def build_inputs(dataset: Dataset, settings: ModelSettings, device: torch.device) -> Inputs:
    """Build the graphs of the training split, and per modality the features and their item graph."""
    train = dataset.split("train")
    matrix = interaction_matrix(train.user_rows, train.item_rows, dataset.n_users, dataset.n_items)
    features: dict[str, Array] = {}
    graphs: dict[str, SparseMatrix] = {}
    if isinstance(settings, AnchorRecSettings):
        features = modality_features(dataset.features, settings)
        graphs = {m: SparseMatrix(item_graph(f, settings.k), device) for m, f in features.items()}
    return Inputs(
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        interactions=SparseMatrix(normalise_interactions(matrix), device),
        user_degrees=torch.from_numpy(np.diff(matrix.indptr)).to(device),
        item_degrees=torch.from_numpy(np.bincount(matrix.indices, minlength=dataset.n_items)).to(device),
        features={m: torch.from_numpy(f).to(device) for m, f in features.items()},
        item_graphs=graphs,
    )


def modality_features(given: dict[str, Array], settings: AnchorRecSettings) -> dict[str, Array]:
    """Float32 features of the wanted modalities; without given fused ones, the anchor's are made of those present.

    Returns:
        (n_items, width) per modality, scaled as the settings say.
    """
    present: dict[str, Array] = {m: np.array(given[m], dtype=np.float32) for m in settings.modalities if m in given}
    singles = [present[m] for m in SINGLE_MODALITIES if m in present]
    if ANCHOR in settings.modalities and ANCHOR not in present and singles:
        both = len(singles) == len(SINGLE_MODALITIES)
        present[ANCHOR] = fuse(singles[0], singles[1]) if both else unit_rows(singles[0])
    if settings.feature_scaling == "unit":
        return {m: unit_rows(f) for m, f in present.items()}
    return present
