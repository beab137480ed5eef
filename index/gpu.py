"""Clones an index onto a GPU, where FAISS has one and the setting allows it.

Only one thread may search a GPU index (index/batching.py). The CPU index stays beside it for searches that the GPU
cannot run: lists of more than 2,048 rows, and searches that raise an error.
"""

import logging
from dataclasses import replace
from typing import Any

import faiss as faiss_with_stubs

from index.item_index import ItemIndex

faiss: Any = faiss_with_stubs  # the CPU wheel has none of the GPU names

# The longest list that a GPU search returns (its wiki, "Faiss on the GPU", limitations).
MAX_FETCH = 2_048
# Scratch memory; FAISS's default of 1.5 GiB is far more than batches of a service need.
SCRATCH_BYTES = 256 * 1024**2

_log = logging.getLogger(__name__)


def n_gpus() -> int:
    """The number of GPUs that FAISS can use; 0 with the CPU wheel or without a driver."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def place_index(index: ItemIndex, *, allow_gpu: bool, device: int = 0) -> ItemIndex:
    """The index cloned onto the GPU, or the index itself where GPUs are not allowed, missing, or lack its kind.

    `engine.device` of the result names the device. Drop the clone's last reference in the thread that searches it,
    which frees its memory.
    """
    if not allow_gpu or n_gpus() <= device:
        return index
    try:
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(SCRATCH_BYTES)
        clone = faiss.index_cpu_to_gpu(resources, device, index.engine.index)
    except RuntimeError as error:  # HNSW has no GPU form; a full GPU has no room
        _log.warning("index stays on the CPU: %s", error)
        return index
    engine = replace(
        index.engine,
        index=clone,
        takes_selector=False,
        one_at_a_time=False,
        max_fetch=MAX_FETCH,
        device=f"gpu:{device}",
        resources=resources,
    )
    return replace(index, engine=engine, overflow=index)
