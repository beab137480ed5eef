"""Files of stored items as the service exports them, for the tests of retraining."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("item_id", "title", "category", "text", "image", "attributes"), pl.String),
    "categories": pl.List(pl.String),
    "available": pl.Boolean,
    "created_at": pl.Float64,
    "updated_at": pl.Float64,
    **dict.fromkeys(("features_text", "features_image", "features_multimodal"), pl.List(pl.Float32)),
    "encoded_image": pl.List(pl.Float32),
    "image_encoder": pl.String,
    "deleted": pl.Boolean,
}


def stored(item_id: str, **fields: Any) -> dict[str, Any]:
    """A stored item's row; `attributes` as a mapping, `features` by modality."""
    features = {f"features_{modality}": row for modality, row in fields.pop("features", {}).items()}
    attributes = json.dumps(fields.pop("attributes", {}))
    categories = fields.pop("categories", [])
    words = {"title": "", "text": "", "image": None, "category": categories[0] if categories else ""}
    times = {"available": True, "created_at": 1.7e9, "updated_at": 1.7e9, "deleted": False}
    return {
        "item_id": item_id,
        "attributes": attributes,
        "categories": categories,
        **words,
        **times,
        **features,
        **fields,
    }


def deleted(item_id: str) -> dict[str, Any]:
    """A deleted item's row: nothing but its id is known."""
    return {"item_id": item_id, "deleted": True}


def write_items(file: Path, *rows: Mapping[str, Any]) -> Path:
    """Write the rows as `python -m service export-items` does."""
    pl.DataFrame([dict.fromkeys(SCHEMA) | dict(row) for row in rows], schema=SCHEMA).write_parquet(file)
    return file
