"""What the encoders of all bundles of a service process share: the worker process, the cache, the pictures."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from index.registry import Registry
from service.encoding.feature_cache import FILE, FeatureCache
from service.encoding.fetching import PictureFetcher
from service.encoding.pictures import Pictures
from service.encoding.process import EncodingProcess
from service.image_hosts import parse_host
from service.settings import MEGABYTE, EncodingSettings
from service.telemetry.metrics import EncodingMetrics

PACKAGES = {"onnxruntime": "onnxruntime", "tokenizers": "tokenizers", "PIL": "pillow"}
LOCK_FILE = "encoding.lock"


class Encoding:
    """Everything but the bundle. `unusable` says why nothing can be encoded here; None where it can."""

    def __init__(
        self, settings: EncodingSettings, images: str | None, registry: Registry, metrics: EncodingMetrics
    ) -> None:
        self.registry, self.metrics = registry, metrics
        self.process = EncodingProcess(settings, metrics)
        self.cache = FeatureCache(settings.data_folder / FILE, settings.encoded_max_mb * MEGABYTE)
        self.turn, self.lock_file = asyncio.Lock(), settings.data_folder / LOCK_FILE  # for one batch after another
        hosts = [parse_host(entry) for entry in settings.image_hosts]
        self.fetcher = PictureFetcher(hosts, max_bytes=settings.image_max_bytes, timeout_s=settings.image_timeout_s)
        self.pictures = Pictures(images, self.fetcher, self.cache, settings.image_max_bytes)
        self.unusable = missing_packages() if settings.encode else "encoding is switched off (RECO_ENCODE=false)"


@asynccontextmanager
async def open_encoding(
    settings: EncodingSettings, images: str | None, registry: Registry, metrics: EncodingMetrics
) -> AsyncIterator[Encoding]:
    """What encodes, closed at the end. `images`: a folder or a URL prefix, as RECO_IMAGES has it."""
    encoding = Encoding(settings, images, registry, metrics)
    try:
        yield encoding
    finally:
        await encoding.process.close()
        await encoding.fetcher.close()
        encoding.cache.close()


def missing_packages() -> str | None:
    """What to install where the extra `encode` is not installed; None where it is."""
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    return (
        f"texts and pictures of items cannot be encoded without {', '.join(missing)}, so only ready features count: "
        "pip install 'anchorrec[encode]'"
    )
