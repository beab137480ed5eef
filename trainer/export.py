"""Takes a fitted model apart into a bundle (docs/bundle.md)."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from index import neighbour_rows
from index.auto.choice import AUTO, AutoLimits
from index.bundle import BundleContent, write_bundle
from index.console_tables import index_line
from index.errors import InputError
from index.manifest import EncoderInfo, TablesInfo, read_manifest
from index.neighbour_rows import projection_of
from index.progress import built_kinds
from index.registry import Registry
from index.tables import Precision
from index.trend import decayed_counts
from trainer.catalogue_map import catalogue_map
from trainer.config import RunConfig
from trainer.content_path import content_anchor
from trainer.data import Dataset
from trainer.features import forget_pages
from trainer.fit import make_model
from trainer.histories import Histories
from trainer.item_pictures import picture_reference
from trainer.models.base import Factors, RecommenderModel
from trainer.progress import print_status
from trainer.result_tables import usual_metrics
from trainer.rotation import rotated_onto
from trainer.run_folder import RunFolder, RunResult

Array = np.ndarray[Any, np.dtype[Any]]
EncoderChoice = Literal["auto", "none"]


def export_run(
    folder: RunFolder,
    registry: Registry,
    *,
    created_at: datetime,
    factory: str = AUTO,
    limits: AutoLimits | None = None,
    precision: Precision = "float32",
    trend_half_life_days: float = 30.0,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    events_position: int | None = None,
    forgotten: Collection[str] = (),
    encoders: EncoderChoice = "auto",
    with_map: bool = True,
) -> Path:
    """Write the best state of a finished run as a bundle, with its index, into a registry; it is not published.

    Its embeddings are rotated onto those of the bundle that the registry serves (trainer/rotation.py).

    Args:
        folder: a run that `fit` has finished.
        registry: stores the bundle; its folder is made if need be.
        created_at: goes into the bundle id and the manifest.
        factory: FAISS factory string of the index, or `auto`: the fastest by measurement.
        limits: what an index of `auto` must reach.
        precision: that users' vectors, parts and fold-in are rounded to; item embeddings stay float32.
        trend_half_life_days: age at which an interaction counts half in the popularity trend.
        metrics: figures by the name of the data they were measured on, stored beside `valid` and `test`.
        events_position: of the last event in the log that the data include.
        forgotten: receipts of the people whom the data leave out on request.
        encoders: `auto` puts the encoders of the data's features beside the bundle, once for all bundles.
        with_map: puts the items on a map (trainer/catalogue_map.py), which the console shows.

    Returns:
        The bundle's folder on this machine.

    Raises:
        InputError: the run is not finished, or its data set is gone or has changed.
    """
    result = folder.result()
    if result is None:
        raise InputError(f"{folder.path} is not finished: it has no result.json (`python -m trainer fit` resumes it)")
    dataset = folder.dataset()
    content = bundle_content(folder, folder.config(), dataset, result, trend_half_life_days)
    _tell_what_is_lost(result)
    content = rotated_onto(content, registry)
    content = replace(
        content,
        metrics={**content.metrics, **(metrics or {})},
        events_position=events_position,
        forgotten=tuple(forgotten),
        encoders=_encoders(dataset, registry, encoders),
        map=catalogue_map(content.item_embeddings, content.seed) if with_map else None,
    )
    with built_kinds() as tell:
        path = write_bundle(
            registry.folder,
            content,
            created_at=created_at,
            factory=factory,
            limits=limits,
            precision=precision,
            tell=tell,
        )
    manifest = read_manifest(path)
    _tell_rounding(manifest.tables)
    if manifest.index.tried:
        print_status(f"index: {index_line(manifest.index)}")
    registry.add_bundle(path)
    return path


def _encoders(dataset: Dataset, registry: Registry, choice: EncoderChoice) -> Mapping[str, EncoderInfo]:
    if choice == "none" or not dataset.features:
        return {}
    # Imported here because its libraries take seconds.
    from trainer.encoders.onnx_export import export_encoders  # noqa: PLC0415

    return export_encoders(dataset.encoders, dataset.features, registry)


def bundle_content(
    folder: RunFolder, config: RunConfig, dataset: Dataset, result: RunResult, trend_half_life_days: float
) -> BundleContent:
    """Everything that a bundle holds of a run, in memory."""
    model = make_model(dataset, config)
    folder.load_best(model)
    factors = factors_of(model)
    del model  # its arrays take as much memory as those of the bundle
    return content_of(factors, config, dataset, bundle_metrics(result), trend_half_life_days)


def factors_of(model: RecommenderModel) -> Factors:
    """What a bundle holds of a model."""
    model.eval()
    with torch.no_grad():
        return model.factors()


def content_of(
    factors: Factors,
    config: RunConfig,
    dataset: Dataset,
    metrics: Mapping[str, Mapping[str, float]],
    trend_half_life_days: float,
) -> BundleContent:
    """Everything that a bundle holds of a trained model of these factors."""
    with torch.no_grad():
        item_embeddings = factors.item_embeddings
    seen = Histories.of(dataset.split("train"), dataset.n_users, dataset.n_items)
    count, trend = popularity(dataset, trend_half_life_days)
    degrees = np.bincount(seen.items, minlength=dataset.n_items)
    with torch.no_grad():
        anchor = content_anchor(factors, dataset.features, degrees)
    projections = {
        name: projection_of(rows) for name, rows in dataset.features.items() if neighbour_rows.is_projected(rows)
    }
    return BundleContent(
        model=config.model.name,
        config=config.model_dump(mode="json"),
        data_fingerprint=dataset.fingerprint,
        seed=config.seed,
        metrics=metrics,
        user_ids=dataset.user_ids,
        item_ids=dataset.item_ids,
        user_embeddings=_array(factors.user_embeddings),
        item_embeddings=_array(item_embeddings),
        item_parts={name: _array(part) for name, part in factors.item_parts.items()},
        fold_in=_array(factors.fold_in),
        fold_in_exact=factors.fold_in_exact,
        user_own=None if factors.user_own is None else _array(factors.user_own),
        seen_offsets=seen.offsets,
        seen_items=seen.items,
        popularity_count=count,
        popularity_trend=trend,
        neighbours={name: compact(rows, projections.get(name)) for name, rows in dataset.features.items()},
        projections=projections,
        items=item_metadata(dataset),
        recency=factors.recency,
        anchor=anchor,
        attribute_types=dataset.attribute_types,
    )


def popularity(dataset: Dataset, half_life_days: float) -> tuple[Array, Array]:
    """Training interactions per item: counts int64, and counts that halve with age since the newest float32."""
    train = dataset.split("train")
    count = np.bincount(train.item_rows, minlength=dataset.n_items).astype(np.int64)
    trend = decayed_counts(train.item_rows, train.timestamps, dataset.n_items, half_life_days)
    return count, trend.astype(np.float32)


def compact(features: Array, projection: Array | None = None) -> Array:
    """As index.neighbour_rows.compact, and none of the features' file stays in memory."""
    kept = neighbour_rows.compact(features, projection)
    forget_pages(features)
    return kept


def bundle_metrics(result: RunResult) -> dict[str, dict[str, float]]:
    """`valid` and `test` of what the bundle answers; of a model that it holds at a lower rank, also those at full rank.

    The gate compares bundles by `valid`.
    """
    measured = {"valid": result.valid, "test": result.test}
    at_full_rank = {f"{split} at full rank": figures for split, figures in measured.items()}
    return {**measured, **result.served, **at_full_rank} if result.served else measured


def _tell_what_is_lost(result: RunResult) -> None:
    """Print the served form's figures beside those at full rank."""
    for split, served in result.served.items():
        whole: dict[str, float] = getattr(result, split)
        usual = [name for name in usual_metrics(served) if name in served]
        told = [f"{name} {served[name]:.4f} for {whole[name]:.4f} at full rank" for name in usual]
        print_status(f"served form, {split}: {', '.join(told)}")


def _tell_rounding(tables: TablesInfo) -> None:
    if tables.errors:
        told = ", ".join(f"{name} {error:.2g}" for name, error in tables.errors.items())
        print_status(f"{tables.precision}: a score is off by at most this share of its two norms: {told}")


def item_metadata(dataset: Dataset) -> list[dict[str, Any]]:
    """The metadata of each item, in row order."""
    columns = dataset.items.select("title", "category", "image", "attributes").iter_rows(named=True)
    return [
        {
            "title": row["title"],
            "category": row["category"],
            "attributes": json.loads(row["attributes"]),
            "image": picture_reference(row["image"]),
        }
        for row in columns
    ]


def _array(tensor: torch.Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)
