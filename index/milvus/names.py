"""Names and kinds of Milvus collections: what needs no Milvus client."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ALIAS = "reco_current"
_PREFIX = "reco_"


def collection_of(bundle_id: str) -> str:
    """The name of a bundle's collection, in which Milvus allows letters, digits and `_`."""
    return _PREFIX + bundle_id.replace("-", "_")


def is_of_a_bundle(collection: str) -> bool:
    """Whether the name is that of some bundle's collection."""
    return collection.startswith(_PREFIX)


@dataclass(frozen=True)
class CollectionKind:
    """How Milvus indexes a collection: its index type, parameters of the build, and settings of every search."""

    index_type: str = "HNSW"
    build: Mapping[str, int] = field(default_factory=lambda: {"M": 32, "efConstruction": 200})
    search: Mapping[str, int] = field(default_factory=lambda: {"ef": 128})


HNSW = CollectionKind()
FLAT = CollectionKind("FLAT", {}, {})
