from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from encoding_worlds import play
from PIL import Image
from tiny_encoders import add_tiny_encoders

from index.manifest import EncoderInfo
from index.registry import Registry

Tiny = tuple[Registry, dict[str, EncoderInfo]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    registry = Registry(tmp_path_factory.mktemp("encoders"))
    return registry, add_tiny_encoders(registry)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a red and a blue picture."""
    folder = tmp_path / "images"
    folder.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture
def run(tiny: Tiny, images: Path, tmp_path: Path) -> Callable[..., Any]:
    """Plays a scene with the tiny encoders and the folder of pictures."""
    return partial(play, *tiny, pictures=images, data=tmp_path / "data")
