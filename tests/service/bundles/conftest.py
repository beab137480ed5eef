from pathlib import Path

import pytest
from bundles import write_small_bundle

from index.bundle import Bundle, open_bundle
from index.registry import Registry


class Two:
    """A registry with two bundles whose lists differ, the first one published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second = (write_small_bundle(folder, after_seconds=seed, seed=seed) for seed in range(2))
        self.registry = Registry(folder)
        self.registry.publish(self.first.name)

    def opened(self) -> list[Bundle]:
        return [open_bundle(self.first), open_bundle(self.second)]


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path / "registry")
