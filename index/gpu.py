"""The one place that knows GPUs: an index cloned onto one, where FAISS sees it and the setting allows it.

A GPU index may be searched by one thread only (index/batching.py); its CPU twin stays beside it and answers what the
GPU cannot: lists beyond 2,048 rows, and searches that raise.
"""

import logging
from dataclasses import replace
from typing import Any

import faiss as faiss_with_stubs

from index.item_index import ItemIndex

faiss: Any = faiss_with_stubs  # the CPU wheel has none of the GPU names

# The longest list that FAISS's GPU selection gives (its wiki, "Faiss on the GPU", limitations).
MAX_FETCH = 2_048
# Scratch memory; FAISS would take 1.5 GiB, far more than batches of a service need.
SCRATCH_BYTES = 256 * 1024**2

_log = logging.getLogger(__name__)


def n_gpus() -> int:
    """How many GPUs FAISS sees: 0 with the CPU wheel, or without a driver."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def placed(index: ItemIndex, *, allow_gpu: bool, device: int = 0) -> ItemIndex:
    """The index on the GPU, or the same index where that is not allowed, not there, or not possible for its kind.

    `engine.device` of the result says which. The clone's memory is freed when its last reference goes: let that be
    in the thread that searches it.
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
