"""What a training gets of pictures: the folder, and features of those at URLs that the service has encoded."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from bundles import write_small_bundle
from encoding_worlds import item
from tiny_encoders import add_tiny_encoders

from index.registry import Registry
from service.encoding.encoding import open_encoding
from service.encoding.feature_cache import content_key
from service.retrain.item_pictures import ItemPictures
from service.settings import EncodingSettings
from service.telemetry.metrics import Metrics

URL = "https://shop.example/red.png"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry that serves a bundle with encoders."""
    registry = Registry(tmp_path_factory.mktemp("bundles"))
    bundle = write_small_bundle(registry.folder, encoders=add_tiny_encoders(registry))
    registry.publish(bundle.name)
    return registry


def test_a_picture_at_a_url_comes_with_the_features_of_the_service_and_the_name_of_its_encoder(registry, tmp_path):
    encoder = registry.manifest(registry.current_id()).encoders["image"]
    row = np.arange(encoder.width, dtype=np.float32)

    async def main():
        settings = EncodingSettings(registry=registry.folder, data=tmp_path)
        async with open_encoding(settings, str(tmp_path), registry, Metrics()) as encoding:
            key = content_key(b"the picture")
            await encoding.cache.put(bytes.fromhex(encoder.digest), {key: row})
            await encoding.cache.put_picture(URL, key)
            pictures = ItemPictures(encoding, registry, str(tmp_path))
            items = [
                item("a", image=URL),
                item("b", image="https://shop.example/new.png"),
                item("c", image="c.png"),
                item("d"),
            ]
            return await pictures(items)

    known, *unknown = asyncio.run(main())
    assert unknown == [None, None, None]
    assert known.encoder == f"{encoder.name} {encoder.version}"
    assert known.features == row.tolist()


def test_without_a_bundle_or_with_one_that_cannot_be_read_there_are_none(registry, tmp_path):
    async def found(other: Registry):
        settings = EncodingSettings(registry=tmp_path, data=tmp_path)
        async with open_encoding(settings, None, other, Metrics()) as encoding:
            return await ItemPictures(encoding, other, None)([item("a", image=URL)])

    empty = Registry(tmp_path / "empty")
    assert asyncio.run(found(empty)) == [None]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "current.json").write_text("{")
    assert asyncio.run(found(Registry(tmp_path / "broken"))) == [None]


@pytest.mark.parametrize(("images", "named"), [(None, False), ("https://cdn.example/", False), ("pictures", True)])
def test_the_trainer_reads_a_folder_of_pictures_itself(images, named):
    arguments = ItemPictures(None, None, images).arguments
    assert arguments == (["--images", str(Path("pictures").absolute())] if named else [])
