"""Clones an index onto one GPU or several, where FAISS has them and the settings allow it.

Only one thread may search a GPU's index (index/batching.py). The CPU index stays beside it for searches that the GPU
cannot run: lists of more than 2,048 rows, and searches that raise an error. No GPU was at hand when this was written:
docs/gpu.md lists what has never run.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import faiss as faiss_with_stubs

from index.item_index import ItemIndex

faiss: Any = faiss_with_stubs  # the CPU wheel has none of the GPU names

Spread: TypeAlias = Literal["replicas", "shards"]

# The longest list that a GPU search returns (its wiki, "Faiss on the GPU", limitations).
MAX_FETCH = 2_048
# Scratch memory; FAISS's default of 1.5 GiB is far more than batches of a service need.
SCRATCH_BYTES = 256 * 1024**2

_log = logging.getLogger(__name__)


def n_gpus() -> int:
    """The number of GPUs that FAISS can use; 0 with the CPU wheel or without a driver."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def place_index(index: ItemIndex, *, allow_gpu: bool, device: int = 0, float16: bool = False) -> ItemIndex:
    """The index cloned onto the GPU, or the index itself where GPUs are not allowed, missing, or lack its kind.

    `engine.device` of the result names the device. Drop the clone's last reference in the thread that searches it,
    which frees its memory. float16: a flat index takes half the memory, and its candidates are those of rounded
    vectors; their scores are exact, as always. Other kinds store what their factory says (`IVF4096,SQfp16`).
    """
    if not allow_gpu or n_gpus() <= device:
        return index

    def clone(resources: list[Any]) -> Any:
        options = faiss.GpuClonerOptions()
        options.useFloat16, options.allowCpuCoarseQuantizer = float16, True  # the CPU tells which lists are probed
        return faiss.index_cpu_to_gpu(resources[0], device, index.engine.index, options)

    return _cloned(index, clone, [device], float16=float16) or index


def place_on_all(index: ItemIndex, *, spread: Spread, float16: bool = False) -> list[ItemIndex]:
    """The indexes to search, each in a thread of its own; none where no GPU can hold the index.

    replicas: the whole index on each GPU, so that they search different requests at once. shards: one index, a part of
    whose rows is on each GPU, for what does not fit on one; FAISS searches the parts in threads of its own.
    """
    if spread == "replicas" or n_gpus() < 2:
        placed = [place_index(index, allow_gpu=True, device=device, float16=float16) for device in range(n_gpus())]
        return [one for one in placed if one is not index]

    def clone(resources: list[Any]) -> Any:
        options = faiss.GpuMultipleClonerOptions()
        options.useFloat16, options.allowCpuCoarseQuantizer, options.shard = float16, True, True
        return faiss.index_cpu_to_gpu_multiple_py(resources, index.engine.index, options, list(range(n_gpus())))

    sharded = _cloned(index, clone, list(range(n_gpus())), float16=float16)
    return [] if sharded is None else [sharded]


def _cloned(
    index: ItemIndex, clone: Callable[[list[Any]], Any], devices: list[int], *, float16: bool
) -> ItemIndex | None:
    try:
        resources = [faiss.StandardGpuResources() for _ in devices]
        for one in resources:
            one.setTempMemory(SCRATCH_BYTES)
        on_gpu = clone(resources)
    except RuntimeError as error:  # HNSW has no GPU form; a full GPU has no room
        _log.warning("index stays on the CPU: %s", error)
        return None
    engine = replace(
        index.engine,
        index=on_gpu,
        exact=index.engine.exact and not float16,
        takes_selector=False,
        one_at_a_time=False,
        max_fetch=MAX_FETCH,
        device=f"gpu:{','.join(map(str, devices))}",
        resources=resources,
    )
    return replace(index, engine=engine, overflow=index)
