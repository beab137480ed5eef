import asyncio

import numpy as np

from service.encoding.feature_cache import FeatureCache

ENCODER, OTHER = b"e" * 32, b"o" * 32


def rows(start, n, width=64):
    return {number.to_bytes(16): np.full(width, number, np.float32) for number in range(start, start + n)}


def keys(found):
    return sorted(int.from_bytes(key) for key in found)


def test_features_are_found_by_encoder_content_and_width(tmp_path):
    async def scene():
        cache, another = (FeatureCache(tmp_path / "c.sqlite", 10**9) for _ in range(2))
        await cache.put(ENCODER, rows(0, 3))
        found = await another.features(ENCODER, rows(1, 5), 64)
        assert keys(found) == [1, 2]
        assert found[(2).to_bytes(16)].tolist() == [2.0] * 64
        assert await another.features(OTHER, rows(1, 5), 64) == {}
        assert await another.features(ENCODER, rows(1, 5), 63) == {}

    asyncio.run(scene())


def test_a_full_cache_evicts_its_oldest_features(tmp_path):
    async def scene():
        cache = FeatureCache(tmp_path / "c.sqlite", 400_000)
        for start in range(0, 4_000, 100):
            await cache.put(ENCODER, rows(start, 100))
        kept = keys(await cache.features(ENCODER, rows(0, 4_000), 64))
        assert kept == list(range(kept[0], 4_000)), "the newest ones"
        assert 500 < len(kept) < 2_000
        cache.close()
        assert (tmp_path / "c.sqlite").stat().st_size < 600_000

    asyncio.run(scene())


def test_what_a_url_had_is_remembered(tmp_path):
    async def scene():
        cache = FeatureCache(tmp_path / "c.sqlite", 10**9)
        assert await cache.picture("https://cdn.example.com/a.png") is None
        await cache.put_picture("https://cdn.example.com/a.png", b"k" * 16)
        assert await cache.picture("https://cdn.example.com/a.png") == b"k" * 16

    asyncio.run(scene())
