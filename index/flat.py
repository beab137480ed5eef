"""A flat index over vectors where they lie, in memory or memory-mapped: it copies nothing and reads no file."""

from dataclasses import replace
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.engine import Engine, engine_of

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

FLAT = "Flat"  # the factory string
_FILE_HEADER = 45  # bytes that FAISS writes before the vectors


def flat_engine(vectors: Array) -> Engine:
    """A flat index whose codes are these vectors, (n, d) float32 in C order, which must not change."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    as_bytes = vectors.reshape(-1).view(np.uint8)
    no_owner = index.codes.owner  # FAISS frees nothing: the engine refers to the vectors
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(as_bytes), as_bytes.size, no_owner)
    index.ntotal = len(vectors)
    return replace(engine_of(index), resources=vectors)


def flat_file_size(n: int, d: int) -> int:
    """The size in bytes of the file of a flat index."""
    return _FILE_HEADER + 4 * n * d
