"""The spaces in which items are neighbours: the whole embedding (fused), each modality's features, the ID part."""

from typing import Any

import numpy as np

from index.bundle import Bundle
from index.item_index import ItemIndex
from index.ranking import unit_rows
from index.tables import Table

Array = np.ndarray[Any, Any]

MOST_COPIED = 16_000_000  # numbers in a space; of larger ones copies would take too much time at a start, and memory


def vectors_by_space(bundle: Bundle) -> dict[str, Table]:
    """The vectors (n_items, width) of each space, by its name."""
    by_space: dict[str, Table] = {"fused": bundle.item_embeddings, **bundle.neighbours}
    if "id" in bundle.item_parts:
        by_space["id"] = bundle.item_parts["id"]
    return by_space


def is_copied(vectors: Table) -> bool:
    """Whether the space is small enough for a search over a copy of its unit vectors."""
    return vectors.shape[0] * vectors.shape[1] <= MOST_COPIED


def unit_index(vectors: Table) -> tuple[ItemIndex, Array]:
    """A search over the unit vectors that hides the rows of zeros, and these rows: items unknown in the space."""
    unit = unit_rows(np.asarray(vectors))
    unknown = np.flatnonzero(~unit.any(axis=1))
    return ItemIndex.build(unit).with_hidden(unknown), unknown
