"""Milvus Lite and Qdrant's local client over the same vectors, for `python -m index bench-filters --beside`."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from index.benchmarks.filter_benchmark import FilterCase, Search
from index.errors import InputError
from index.item_index import ItemIndex
from index.milvus.names import FLAT
from index.ranking import NO_ROWS, Array, padded

MILVUS, QDRANT = "milvus", "qdrant"
_COLLECTION = "bench"
_CALL_S = 600.0

Searches = Callable[[FilterCase], dict[str, Search]]  # by strategy


@contextmanager
def databases(names: Sequence[str], index: ItemIndex, queries: Array, k: int) -> Iterator[Searches]:
    """Load the index's vectors into each database, and search queries (m, d) there as FilterCases ask.

    InputError on an unknown name. Milvus Lite runs in a process of its own and is reached over a socket, Qdrant's local
    client in this process.
    """
    openers = {MILVUS: _milvus, QDRANT: _qdrant}
    for name in names:
        if name not in openers:
            raise InputError(f"--beside {name}: no database of this benchmark; expected one of {', '.join(openers)}")
    with ExitStack() as stack:
        opened = [stack.enter_context(openers[name](index, queries, k)) for name in names]
        yield lambda case: {name: search for searches in opened for name, search in searches(case).items()}


@contextmanager
def _milvus(index: ItemIndex, queries: Array, k: int) -> Iterator[Searches]:
    """Milvus alone, which is told the rows to leave out or to return, and ItemIndex over it."""
    from index.milvus.engine import Milvus, MilvusEngine, over_milvus  # noqa: PLC0415 - comes with an extra
    from index.milvus.load import load_vectors  # noqa: PLC0415

    with _milvus_lite() as uri:
        milvus = Milvus(uri, timeout_s=_CALL_S)
        load_vectors(milvus, _COLLECTION, index.vectors, FLAT)
        engine = MilvusEngine.of(milvus, _COLLECTION, FLAT.search)
        ours = over_milvus(engine, index)

        def searches(case: FilterCase) -> dict[str, Search]:
            def alone(query: int) -> tuple[Array, Array]:
                return engine.search_within(queries[query, None], k, *_named(case, query))

            def through_ours(query: int) -> tuple[Array, Array]:
                return ours.search(queries[query], k, _excluded(case, query), case.within)

            return {"Milvus Lite": alone, "ItemIndex over Milvus Lite": through_ours}

        yield searches
        milvus.close()


@contextmanager
def _milvus_lite() -> Iterator[str]:
    """The address of a server with an empty folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder]
        server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL)
        try:
            while not _listens(port):
                if server.poll() is not None:
                    raise InputError("Milvus Lite did not start: pip install 'anchorrec[vector-databases]'")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _qdrant(index: ItemIndex, queries: Array, k: int) -> Iterator[Searches]:
    from qdrant_client import QdrantClient, models  # noqa: PLC0415 - comes with an extra

    client: Any = QdrantClient(":memory:")
    kind = models.VectorParams(size=index.vectors.shape[1], distance=models.Distance.DOT)
    client.create_collection(_COLLECTION, vectors_config=kind)
    client.upload_collection(_COLLECTION, vectors=index.vectors, ids=range(len(index)))

    def searches(case: FilterCase) -> dict[str, Search]:
        def alone(query: int) -> tuple[Array, Array]:
            word, rows = _named(case, query)
            condition = models.HasIdCondition(has_id=rows.tolist())
            chosen = models.Filter(must=condition) if word == "in" else models.Filter(must_not=condition)
            found = client.query_points(_COLLECTION, query=queries[query], query_filter=chosen, limit=k).points
            rows = np.array([[point.id for point in found]], np.int64)
            return padded(rows, np.array([[point.score for point in found]], np.float32), k)

        return {"Qdrant, local client": alone}

    yield searches
    client.close()


def _excluded(case: FilterCase, query: int) -> Array:
    return NO_ROWS if case.excluded is None else case.excluded[query]


def _named(case: FilterCase, query: int) -> tuple[str, Array]:
    """The rows to return ("in") or to leave out ("not in")."""
    return ("not in", _excluded(case, query)) if case.within is None else ("in", case.within)
