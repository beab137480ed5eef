"""From a data set to what models are built of: graphs and features on the device."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from index.ranking import unit_rows
from trainer.data import Dataset
from trainer.encoders import fuse
from trainer.graph import SparseMatrix, interaction_matrix, item_graph, normalise_interactions
from trainer.model_settings import SINGLE_MODALITIES, AnchorRecSettings, ModelSettings
from trainer.models.anchorrec import ANCHOR
from trainer.models.base import Inputs
from trainer.nearest import Search, nearest_items

Array = np.ndarray[Any, np.dtype[Any]]


def build_inputs(dataset: Dataset, settings: ModelSettings, device: torch.device) -> Inputs:
    """What a model of these settings needs of the training split and the features."""
    train = dataset.split("train")
    features: Mapping[str, Array] = {}
    k: int = 0
    search: Search = "auto"
    if isinstance(settings, AnchorRecSettings):
        features, k, search = modality_features(dataset.features, settings), settings.k, settings.graph_search
    return make_inputs(
        train.user_rows,
        train.item_rows,
        dataset.n_users,
        dataset.n_items,
        features=features,
        k=k,
        search=search,
        device=device,
    )


def make_inputs(
    user_rows: Array,
    item_rows: Array,
    n_users: int,
    n_items: int,
    *,
    features: Mapping[str, Array],
    k: int,
    search: Search = "auto",
    device: torch.device,
) -> Inputs:
    """Graphs of training pairs (n,), and per modality the features (n_items, width) with their k-nearest graph."""
    matrix = interaction_matrix(user_rows, item_rows, n_users, n_items)
    nearest = {modality: nearest_items(table, k, search) for modality, table in features.items()}
    return Inputs(
        n_users=n_users,
        n_items=n_items,
        interactions=SparseMatrix(normalise_interactions(matrix), device),
        item_degrees=torch.from_numpy(np.bincount(matrix.indices, minlength=n_items)).to(device),
        features={modality: torch.from_numpy(table).to(device) for modality, table in features.items()},
        item_graphs={m: SparseMatrix(item_graph(found), device) for m, found in nearest.items()},
        graph_recall={m: found.recall for m, found in nearest.items()},
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
        for modality, table in present.items():  # one after the other: at no time is all of it there twice
            present[modality] = unit_rows(table)
    return present
