"""The map of a catalogue: a place in two dimensions and a cluster for each item, made by the trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from index.errors import InputError
from index.frozen_model import FrozenModel

Array = np.ndarray[Any, Any]

POSITIONS, CLUSTERS = "map/positions.npy", "map/clusters.npy"
MOST_CLUSTERS = 1_000


class MapInfo(FrozenModel):
    """The map's record in the manifest."""

    method: Annotated[str, Field(min_length=1, max_length=200)]  # how places were found, for readers
    clusters: Annotated[int, Field(ge=1, le=MOST_CLUSTERS)]


@dataclass(frozen=True, eq=False)
class ItemMap:
    """Items that are near each other here have similar embeddings; clusters are numbered from the largest."""

    method: str
    clusters: int  # how many
    positions: Array  # (n_items, 2) float32, each number from 0 to 1
    cluster_of: Array  # (n_items,) uint16, below `clusters`

    @property
    def info(self) -> MapInfo:
        """Its record in the manifest; ValidationError where it is invalid."""
        return MapInfo(method=self.method, clusters=self.clusters)

    def arrays(self) -> dict[str, Array]:
        """Its arrays by file name."""
        return {POSITIONS: self.positions, CLUSTERS: self.cluster_of}


def map_of(info: MapInfo, arrays: Mapping[str, Array]) -> ItemMap:
    """The map of a bundle with these arrays, by file name."""
    return ItemMap(info.method, info.clusters, arrays[POSITIONS], arrays[CLUSTERS])


def check_map(clusters: int | None, arrays: Mapping[str, Array]) -> None:
    """InputError where a bundle of so many clusters has a place outside the map, or an item of no cluster."""
    if clusters is None:
        return
    positions, found = arrays[POSITIONS], arrays[CLUSTERS]
    outside = np.flatnonzero(~((positions >= 0) & (positions <= 1)).all(axis=1))  # so is what is no number
    if len(outside):
        row = int(outside[0])
        raise InputError(f"{POSITIONS} has {positions[row].tolist()} in row {row}; expected numbers from 0 to 1")
    if found.max() >= clusters:
        raise InputError(f"{CLUSTERS} has cluster {found.max()}; expected 0..{clusters - 1}")
