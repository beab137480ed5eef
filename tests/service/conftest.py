from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import Valkey, publish, serving, shared_registries

from index.bundle import Bundle


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    publish(folder)
    shared_registries.add(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(registry: Path) -> Bundle:
    return publish(registry)


@pytest.fixture(scope="module")
def client(registry: Path) -> Iterator[httpx.Client]:
    """A service on the shared registry, which knows nothing of what other services were told."""
    with serving(registry=registry) as client:
        yield client


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey").start()
    yield server
    server.kill()
