from pathlib import Path

import pytest
from bundles import write_small_bundle

from index.bundle import Bundle, open_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("bundle")
    return open_bundle(write_small_bundle(folder))
