"""The canonical dataset folder: ids learned once, rows everywhere else, and the train, valid and test splits.

dataset.json          DatasetInfo: source, recipe, counts of everything dropped, sizes, attribute types, fingerprint
interactions.parquet  user_row, item_row, rating, timestamp (unix seconds), split (0 train, 1 valid, 2 test)
users.parquet         user_id, in row order
items.parquet         item_id, title, category, text, image, attributes (JSON), in row order
                      image is an absolute path, or what a stored item names where no file is on this machine
features/<name>.npy   float32 or float16 (n_items, width); name in text, image, multimodal; any may be absent
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from index import trend
from index.attribute_types import AttributeType
from index.errors import InputError
from index.reading import open_array, read_document
from index.storage import sha256_of
from index.validation import explained
from trainer.features import checked_features
from trainer.interaction_filters import UnknownItems
from trainer.parquet import read_parquet
from trainer.splits import Protocol, SplitKind, split_labels, time_validation

FORMAT: Literal[1] = 1
MODALITIES = ("text", "image", "multimodal")
SPLIT_NAMES = ("train", "valid", "test")
NO_TIME = trend.NO_TIME  # timestamp of an interaction whose time is not known
TABLES = ("interactions.parquet", "users.parquet", "items.parquet")

INTERACTION_SCHEMA = pl.Schema(
    {
        "user_id": pl.String,
        "item_id": pl.String,
        "rating": pl.Float32,
        "timestamp": pl.Int64,
        "split": pl.Int8,
    }
)
ROW_SCHEMA = pl.Schema(
    {
        "user_row": pl.Int32,
        "item_row": pl.Int32,
        "rating": pl.Float32,
        "timestamp": pl.Int64,
        "split": pl.Int8,
    }
)
ITEM_COLUMNS = {"item_id": "", "title": "", "category": "", "text": "", "image": "", "attributes": "{}"}


@dataclass(frozen=True)
class Source:
    """The output of a reader, before rows are assigned and splits made.

    `interactions` has user_id and item_id, and may have rating, timestamp (unix seconds) and split; `items`
    has item_id and any of ITEM_COLUMNS; rows of `features` belong to rows of `items`, all-zero rows meaning
    "missing". `attribute_types` are of the attributes of `items`. `encoders` made the given features, where they are
    known. With `user_ids`, users and items keep exactly the rows given here; without, both are numbered by first
    appearance. `options` and `counts` (what was read, what was dropped, why) and `notes` (what a person should know,
    such as guessed columns) go into dataset.json.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    features: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    user_ids: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    attribute_types: Mapping[str, AttributeType] = field(default_factory=dict)
    encoders: "Mapping[str, EncoderName]" = field(default_factory=dict)


class EncoderName(BaseModel):
    """Which of the trainer's encoders made features, as `--text-encoder` and `--image-encoder` name it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str  # of its weights and preprocessing


class Recipe(BaseModel):
    """How interactions are chosen and split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: SplitKind = "random"
    seed: int = 0
    k_core: int = 0
    unknown_items: UnknownItems = "keep"
    cold_items: Literal["keep", "drop"] = "keep"


class Labels(BaseModel):
    """Which interactions are for training, validation and test; by default as the folder was prepared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Protocol = "given"
    seed: int = 0  # of a random split
    validation: Literal["given", "time"] = "given"  # time: the newest interactions outside test


class DatasetInfo(BaseModel):
    """dataset.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    name: str
    source: dict[str, Any]
    recipe: Recipe
    counts: dict[str, int]
    notes: tuple[str, ...]
    n_users: int
    n_items: int
    n_interactions: int
    features: dict[str, int]  # name -> width
    attribute_types: dict[str, AttributeType] = Field(default_factory=dict)  # of an older folder: not known
    fingerprint: str
    encoders: dict[str, EncoderName] = Field(default_factory=dict)  # of features that an encoder made here


@dataclass(frozen=True)
class Interactions:
    """Parallel arrays, one entry an interaction, in time or file order."""

    user_rows: NDArray[np.int32]  # (n,)
    item_rows: NDArray[np.int32]  # (n,)
    timestamps: NDArray[np.int64]  # (n,) unix seconds, or NO_TIME
    splits: NDArray[np.int8]  # (n,) index into SPLIT_NAMES

    def __len__(self) -> int:
        return len(self.user_rows)

    def where(self, chosen: NDArray[np.bool_]) -> "Interactions":
        """The interactions where `chosen` (n,) is true, in the same order."""
        return Interactions(
            self.user_rows[chosen], self.item_rows[chosen], self.timestamps[chosen], self.splits[chosen]
        )


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset; row r of `items` and of every feature array belongs to item_ids[r]."""

    name: str
    user_ids: list[str]
    item_ids: list[str]
    interactions: Interactions
    items: pl.DataFrame
    features: dict[str, np.ndarray]  # (n_items, width) memory-mapped, float32 or float16
    fingerprint: str
    path: Path
    encoders: Mapping[str, EncoderName] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    labels: Labels = field(default_factory=Labels)
    attribute_types: Mapping[str, AttributeType] = field(default_factory=dict)
    prepared: "Dataset | None" = field(default=None, repr=False)
    """As the folder has it, where `labels` are others."""
    rank: int = 0
    n_ranks: int = 1
    """Of several processes this one has the interactions of the users whose row is `rank` modulo `n_ranks`."""

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.item_ids)

    def split(self, name: Literal["train", "valid", "test"]) -> Interactions:
        """The interactions of one split, in the same order."""
        return self.interactions.where(self.interactions.splits == SPLIT_NAMES.index(name))

    def of_rank(self, rank: int, n_ranks: int) -> "Dataset":
        """The same users and items with the interactions of every n-th user, labelled as they are here."""
        mine = self.interactions.where(self.interactions.user_rows % n_ranks == rank)
        return replace(self, interactions=mine, prepared=None, rank=rank, n_ranks=n_ranks)

    def with_labels(self, labels: Labels) -> "Dataset":
        """The folder's interactions with these labels."""
        dataset = self.with_split(labels.split, labels.seed)
        return dataset.with_time_validation() if labels.validation == "time" else dataset

    def with_split(self, kind: Protocol, seed: int | None = None) -> "Dataset":
        """The folder's interactions split anew, by default with the seed of the recipe; InputError without times."""
        folder, seed = self.prepared or self, self.recipe.seed if seed is None else seed
        found, times = folder.interactions, folder.interactions.timestamps if folder.timed else None
        splits = split_labels(kind, found.user_rows, times, found.splits, seed)
        return folder._relabelled(splits, Labels(split=kind, seed=seed if kind == "random" else 0))

    def with_time_validation(self) -> "Dataset":
        """The same test part, and of the rest each user's newest for validation; without times the dataset itself."""
        if not self.timed:
            return self
        found = self.interactions
        splits = time_validation(found.splits, found.user_rows, found.timestamps)
        return self._relabelled(splits, self.labels.model_copy(update={"validation": "time"}))

    @property
    def timed(self) -> bool:
        """Whether the time of every interaction is known."""
        return bool((self.interactions.timestamps != NO_TIME).all())

    def _relabelled(self, splits: NDArray[np.int8], labels: Labels) -> "Dataset":
        """Itself where nothing changes, so that its runs count for both."""
        if np.array_equal(splits, self.interactions.splits):
            return self
        folder = self.prepared or self
        named = hashlib.sha256(f"{folder.fingerprint} {labels.model_dump_json()}".encode()).hexdigest()
        interactions = replace(self.interactions, splits=splits)
        return replace(self, interactions=interactions, labels=labels, fingerprint=named, prepared=folder)


def load_dataset(path: Path, *, verify: bool = True) -> Dataset:
    """Open a prepared folder; features stay on disk, memory-mapped.

    `verify` reads every file once, to compare the fingerprint and to look for values that are not finite.
    InputError: no dataset there, another format, or content that is not what dataset.json says.
    """
    info = read_info(path)
    if verify and (found := fingerprint(path, info.features)) != info.fingerprint:
        raise InputError(
            f"{path}: content was changed since it was prepared  (fingerprint {found}, expected {info.fingerprint})"
        )
    rows, users, items = (read_parquet(path / name) for name in TABLES)
    _check_sizes(path, info, rows, users, items)
    item_ids = items["item_id"].to_list()
    return Dataset(
        name=info.name,
        user_ids=users["user_id"].to_list(),
        item_ids=item_ids,
        interactions=_interactions(rows),
        items=items,
        features={name: _open_features(path, name, info, item_ids, verify) for name in info.features},
        fingerprint=info.fingerprint,
        path=path,
        encoders=info.encoders,
        recipe=info.recipe,
        attribute_types=info.attribute_types,
    )


def read_info(path: Path) -> DatasetInfo:
    """Read dataset.json of a prepared folder; InputError where it is missing or of another format."""
    file = path / "dataset.json"
    if not file.is_file():
        raise InputError(f"{path} is not a prepared dataset: no dataset.json (`python -m trainer prepare` makes one)")
    try:
        return DatasetInfo.model_validate_json(read_document(file))
    except ValidationError as error:  # also where it is no JSON
        raise InputError(
            f"{file} is not of format {FORMAT}: {explained(error)}; `python -m trainer prepare` makes the data again"
        ) from error


def fingerprint(path: Path, features: Mapping[str, Any]) -> str:
    """sha256 over the names and the content of every file but dataset.json."""
    digest = hashlib.sha256()
    for name in (*TABLES, *(f"features/{modality}.npy" for modality in sorted(features))):
        try:
            content = sha256_of(path / name)
        except FileNotFoundError as error:
            raise InputError(f"{path}: {name} is missing") from error
        digest.update(name.encode() + bytes.fromhex(content))
    return digest.hexdigest()


def _check_sizes(path: Path, info: DatasetInfo, rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> None:
    found = {"n_interactions": len(rows), "n_users": len(users), "n_items": len(items)}
    expected = info.model_dump(include=set(found))
    if found != expected:
        raise InputError(f"{path}: found {found}, expected {expected}")
    if rows.schema != ROW_SCHEMA or set(ITEM_COLUMNS) - set(items.columns):
        raise InputError(f"{path}: columns {rows.columns} and {items.columns} are not those of format {FORMAT}")


def _interactions(rows: pl.DataFrame) -> Interactions:
    return Interactions(
        user_rows=rows["user_row"].to_numpy(),
        item_rows=rows["item_row"].to_numpy(),
        timestamps=rows["timestamp"].fill_null(NO_TIME).to_numpy(),
        splits=rows["split"].to_numpy(),
    )


def _open_features(path: Path, name: str, info: DatasetInfo, item_ids: list[str], verify: bool) -> np.ndarray:
    file = path / "features" / f"{name}.npy"
    features = open_array(file)
    expected = (info.n_items, info.features[name])
    if features.shape != expected:
        raise InputError(f"{file}: found shape {features.shape}, expected {expected}")
    return checked_features(name, features, item_ids) if verify else features
