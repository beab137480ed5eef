"""A flat index over the memory-mapped item embeddings: they are its codes, so it takes no memory and reads no file."""

from dataclasses import replace
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.engine import Engine, build_engine, engine_of

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

FLAT = "Flat"  # the factory string


def flat_engine(vectors: Array) -> Engine:
    """A flat index over vectors (n, d) float32: over the same memory where `map_array` mapped it, else over a copy.

    FAISS takes an index from memory without a copy, if its header lies before its vectors. Before those of a mapped
    .npy file lies that file's header, which is longer, and what is written to a private map changes no file.
    """
    mapped, header = vectors.base, _header(*vectors.shape)
    if not isinstance(mapped, np.memmap) or mapped.mode != "c" or mapped.offset < len(header):
        return build_engine(vectors, FLAT, None, None)
    file: Any = mapped.base  # the map of the whole file
    start = mapped.offset - len(header)
    file[start : mapped.offset] = header
    memory = np.frombuffer(file, np.uint8)[start:]
    index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(memory), len(memory)))
    return replace(engine_of(index), resources=memory)


def flat_file_size(n: int, d: int) -> int:
    """The size in bytes of the file of a flat index."""
    return len(_header(n, d)) + 4 * n * d


def _header(n: int, d: int) -> bytes:
    """What FAISS writes before n vectors: of an empty index, with two numbers filled in."""
    writer = faiss.VectorIOWriter()
    faiss.write_index(faiss.IndexFlatIP(d), writer)
    empty = bytes(faiss.vector_to_array(writer.data))  # kind, d, n, ..., numbers in all vectors
    return empty[:8] + n.to_bytes(8, "little") + empty[16:-8] + (n * d).to_bytes(8, "little")
