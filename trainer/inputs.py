"""Builds the inputs of a model from a data set: graphs and features on the device."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from index.errors import InputError
from index.ranking import unit_rows
from trainer.data import NO_TIME, Dataset, Interactions
from trainer.encoders import fuse
from trainer.graph import (
    SparseMatrix,
    agreement_graphs,
    binary_graph,
    by_row_counts,
    companion_graph,
    item_graph,
    union_graph,
)
from trainer.histories import Histories
from trainer.model_settings import (
    SINGLE_MODALITIES,
    AlignRecSettings,
    AnchorEASESettings,
    AnchorRecSettings,
    DAMRSSettings,
    FREEDOMSettings,
    LATTICESettings,
    Modality,
    ModelSettings,
    PopularitySettings,
    SMORESettings,
)
from trainer.models.anchorrec import ANCHOR
from trainer.models.base import Inputs
from trainer.nearest import nearest_items
from trainer.parallel import WHOLE, Share, all_agree, sum_over_ranks
from trainer.sampling import teaching_pairs

Array = np.ndarray[Any, np.dtype[Any]]
Features = Mapping[str, Array]
Graphs = dict[str, sp.csr_matrix]


def build_inputs(dataset: Dataset, settings: ModelSettings, device: torch.device) -> Inputs:
    """What a model of these settings needs of the training split and the features.

    InputError where the data lack a modality that the model cannot do without.
    """
    train = dataset.split("train")
    return make_inputs(
        train.user_rows,
        train.item_rows,
        dataset.n_users,
        dataset.n_items,
        features=modality_features(dataset.features, settings),
        settings=settings,
        device=device,
        timestamps=train.timestamps,
        share=Share(dataset.rank, dataset.n_ranks),
    )


def make_inputs(
    user_rows: Array,
    item_rows: Array,
    n_users: int,
    n_items: int,
    *,
    features: Features,
    settings: ModelSettings,
    device: torch.device,
    timestamps: Array | None = None,
    share: Share = WHOLE,
) -> Inputs:
    """Graphs of training pairs (n,), and of the features (n_items, width) what the model is built on.

    The pairs are those of the users of a `share`; every rank calls.
    """
    times = np.full(len(user_rows), NO_TIME) if timestamps is None else timestamps
    interactions = Interactions(user_rows, item_rows, times, np.zeros(len(user_rows), np.int8))
    histories = Histories.of(interactions, n_users, n_items)
    graphs, recall = _item_graphs(settings, features, histories)
    item_degrees = torch.from_numpy(np.bincount(histories.items, minlength=n_items))
    return Inputs(
        n_users=n_users,
        n_items=n_items,
        user_degrees=torch.from_numpy(np.diff(histories.offsets).astype(np.int32)).to(device),
        item_degrees=sum_over_ranks(share, item_degrees.to(device)),
        histories=histories,
        timed=all_agree(share, histories.timed),
        features={modality: as_tensor(table).to(device) for modality, table in features.items()},
        item_graphs={name: SparseMatrix(graph, device) for name, graph in graphs.items()},
        graph_recall=recall,
        share=share,
    )


def as_tensor(table: Array) -> torch.Tensor:
    """The table without a copy; of memory-mapped features, which nothing writes to, torch would warn of that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(table)


def _item_graphs(settings: ModelSettings, features: Features, histories: Histories) -> tuple[Graphs, dict[str, float]]:
    """The model's item graphs by name; of AnchorRec's, which may be approximate, also how good they are."""
    match settings:
        case AnchorRecSettings():
            nearest = {m: nearest_items(table, settings.k, settings.graph_search) for m, table in features.items()}
            return {m: item_graph(found) for m, found in nearest.items()}, {m: f.recall for m, f in nearest.items()}
        case AlignRecSettings() | LATTICESettings():
            return {m: item_graph(nearest_items(table, settings.k)) for m, table in features.items()}, {}
        case FREEDOMSettings():
            return {m: binary_graph(nearest_items(table, settings.k)) for m, table in features.items()}, {}
        case SMORESettings():
            image = item_graph(nearest_items(features["image"], settings.k_image))
            text = item_graph(nearest_items(features["text"], settings.k_text))
            return {"image": image, "text": text, "multimodal": union_graph(image, text)}, {}
        case DAMRSSettings():
            content = dict(zip(SINGLE_MODALITIES, _denoised(settings, features), strict=True))
            companions = companion_graph(histories.by_item(), settings.n_companions, settings.min_shared_users)
            return {name: by_row_counts(edges) for name, edges in {**content, "behaviour": companions}.items()}, {}
        case _:
            return {}, {}


def _denoised(settings: DAMRSSettings, features: Features) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Of text and of image. The reference counts what an item may keep among its texts: these come second there."""
    image, text = agreement_graphs(features["image"], features["text"], settings.k)
    return text, image


def modality_features(given: Features, settings: ModelSettings) -> dict[str, Array]:
    """Float32 features of the wanted modalities; without given fused ones, the anchor's are made of those present.

    AnchorEASE, which takes them a block of rows at a time, gets them as they are stored.

    Returns:
        (n_items, width) per modality, scaled as the settings say.
    """
    require_features(settings, given)
    wanted = wanted_modalities(settings)
    as_stored = isinstance(settings, AnchorEASESettings)
    present: dict[str, Array] = {
        m: given[m] if as_stored else np.array(given[m], dtype=np.float32) for m in wanted if m in given
    }
    if as_stored and wanted and not present and ANCHOR in given:
        return {ANCHOR: given[ANCHOR]}
    if ANCHOR in wanted and ANCHOR not in present:
        sources = present if set(SINGLE_MODALITIES) & set(wanted) else given
        singles = [np.asarray(sources[m], dtype=np.float32) for m in SINGLE_MODALITIES if m in sources]
        if singles:
            both = len(singles) == len(SINGLE_MODALITIES)
            present[ANCHOR] = fuse(singles[0], singles[1]) if both else unit_rows(singles[0])
    if isinstance(settings, AnchorRecSettings) and settings.feature_scaling == "unit":
        for modality, table in present.items():  # one after the other: at no time is all of it there twice
            present[modality] = unit_rows(table)
    return present


def wanted_modalities(settings: ModelSettings) -> tuple[Modality, ...]:
    """What the model is built on: its own choice where it has a setting for it."""
    wanted: tuple[Modality, ...] = getattr(settings, "modalities", settings.takes)
    return wanted


def require_data(settings: ModelSettings, dataset: Dataset) -> None:
    """InputError where a model of these settings could learn nothing from the data, or not at all."""
    require_features(settings, dataset.features)
    if dataset.n_items < settings.fewest_items:
        raise InputError(
            f"{settings.name} needs {settings.fewest_items} items or more; {dataset.path} has {dataset.n_items}"
        )
    if settings.most_items is not None and dataset.n_items > settings.most_items:
        raise InputError(
            f"{settings.name} holds all pairs of items in memory, of at most {settings.most_items:,} items;"
            f" {dataset.path} has {dataset.n_items:,}: elsa learns a low-rank matrix of the same kind"
        )
    train = dataset.split("train")
    nothing = not len(teaching_pairs(train.user_rows, train.item_rows)[0])
    if not isinstance(settings, PopularitySettings) and all_agree(Share(dataset.rank, dataset.n_ranks), nothing):
        raise InputError(
            f"{dataset.path}: every user has every item that occurs in training, so {settings.name} has nothing to"
            f" learn from ({dataset.n_users:,} users, {dataset.n_items:,} items); --config popularity needs nothing"
        )


def require_features(settings: ModelSettings, given: Collection[str]) -> None:
    """InputError where the data lack features that the model cannot do without; fused ones are made of others."""
    wanted = wanted_modalities(settings)
    found = [m for m in wanted if m in given or (m == ANCHOR and set(SINGLE_MODALITIES) & set(given))]
    if len(found) < settings.needs:
        number = "all" if settings.needs == len(wanted) else f"{settings.needs} or more"
        has = ", ".join(given) or "none"
        raise InputError(f"{settings.name} needs {number} of the features {', '.join(wanted)}; the data have {has}")
