"""Trained runs of one data set, opened for analysis: the item vectors of each run by space."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from index.errors import InputError
from trainer.data import Dataset
from trainer.fit import make_model
from trainer.graph import interaction_matrix
from trainer.inputs import modality_features
from trainer.model_settings import SINGLE_MODALITIES, AnchorRecSettings
from trainer.models import RecommenderModel
from trainer.models.anchorrec import AnchorRec
from trainer.progress import track
from trainer.run_folder import RunFolder, RunResult

Array = np.ndarray[Any, np.dtype[Any]]

FINAL = "final"
SHOWN_ORDER = ("id", "text", "image", "multimodal")


@dataclass(frozen=True)
class AnalyzedRun:
    """One finished run at its best epoch."""

    name: str
    result: RunResult
    history: list[dict[str, Any]]
    """One record an epoch, as in metrics.jsonl; empty where the model is computed at once and has no loss."""
    spaces: dict[str, Array]
    """(n_items, width) by space: "origin id", "projected text", "final" ..., those that the model has."""

    @property
    def final(self) -> Array | None:
        """(n_items, d) the vectors that are scored; None where there are none, or they are single numbers."""
        return self.spaces.get(FINAL)


@dataclass(frozen=True)
class ComparedRuns:
    """Runs side by side on their common data set."""

    dataset: Dataset
    runs: tuple[AnalyzedRun, ...]
    raw: dict[str, Array]
    """(n_items, width) given features by modality, untouched by training."""
    interactions: sp.csr_matrix
    """R (n_users, n_items) over the whole data set: training, validation and test."""


def open_runs(paths: Sequence[Path], *, trained_tables: bool = False) -> ComparedRuns:
    """Open run folders and take the item vectors out of their best states.

    Args:
        paths: folders of finished runs.
        trained_tables: add the spaces "trained text" and "trained image", the feature tables that training moved:
            what the released scripts call h^t and h^v (docs/analysis.md).

    Raises:
        InputError: a folder holds no finished run, runs are of different data, or `trained_tables` finds none.
    """
    names = _names(paths)
    folders = [RunFolder(path) for path in paths]
    results = [_result(folder) for folder in folders]
    _check_same_data(folders)
    dataset = folders[0].dataset()
    runs = tuple(
        AnalyzedRun(name, result, _epochs(folder), _spaces(dataset, folder, trained_tables))
        for name, result, folder in track(list(zip(names, results, folders, strict=True)), "opening runs")
    )
    if trained_tables and not any(space.startswith("trained ") for run in runs for space in run.spaces):
        raise InputError("no run has trained feature tables; expected one with model.train_features = true")
    features = modality_features(dataset.features, AnchorRecSettings())
    everything = dataset.interactions
    shape = (dataset.n_users, dataset.n_items)
    return ComparedRuns(
        dataset=dataset,
        runs=runs,
        raw={m: features[m] for m in SHOWN_ORDER if m in features},
        interactions=interaction_matrix(everything.user_rows, everything.item_rows, *shape),
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names; whole paths for those that share one."""
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(paths):
        raise InputError(f"runs must differ, found {', '.join(map(str, paths))}")
    often = Counter(path.name for path in resolved)
    return [path.name if often[path.name] == 1 else str(path) for path in resolved]


def _result(folder: RunFolder) -> RunResult:
    folder.config()  # raises where the folder is not a run
    result = folder.result()
    if result is None:
        raise InputError(f"{folder.path} is not finished: it has no result.json (`python -m trainer fit` resumes it)")
    return result


def _epochs(folder: RunFolder) -> list[dict[str, Any]]:
    return [record for record in folder.history() if "loss" in record]


def _check_same_data(folders: Sequence[RunFolder]) -> None:
    first = folders[0].origin()["fingerprint"]
    for folder in folders[1:]:
        found = folder.origin()["fingerprint"]
        if found != first:
            raise InputError(
                f"{folder.path} was trained on other data than {folders[0].path}: "
                f"found fingerprint {found[:12]}, expected {first[:12]}"
            )


def _spaces(dataset: Dataset, folder: RunFolder, trained_tables: bool) -> dict[str, Array]:
    config = folder.config()
    if not config.model.embeds:
        return {}
    model = make_model(dataset, config)
    folder.load_best(model)
    model.eval()
    with torch.no_grad():
        return _item_vectors(model, dataset.n_users, trained_tables)


def _item_vectors(model: RecommenderModel, n_users: int, trained_tables: bool) -> dict[str, Array]:
    spaces: dict[str, torch.Tensor] = {}
    if isinstance(model, AnchorRec):
        origins = {m: model.both_sides(m)[n_users:] for m in ("id", *model.modalities)}
        moved: dict[str, torch.Tensor] = {m: table for m, table in model.features.items() if m in SINGLE_MODALITIES}
        spaces |= _named("origin", origins)
        spaces |= _named("trained", moved if trained_tables else {})
        spaces |= _named("projected", model.projected())
    final = model.embeddings()[1]
    if final.shape[1] > 1:
        spaces[FINAL] = final
    return {name: vectors.cpu().numpy() for name, vectors in spaces.items()}


def _named(group: str, by_modality: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{group} {m}": by_modality[m] for m in SHOWN_ORDER if m in by_modality}
