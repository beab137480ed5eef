import os
from collections.abc import Iterator

import pytest
from milvus_servers import MilvusServer, milvus_server
from object_stores import ObjectStore, object_store

from index.engine import use_threads


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_faiss() -> None:
    """As in the service; on a busy machine FAISS's threads would mostly wait for each other."""
    use_threads(1)


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No test can cut the power; that everything is synced in order is a test of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture(scope="session")
def milvus() -> Iterator[MilvusServer]:
    with milvus_server() as running:
        yield running
