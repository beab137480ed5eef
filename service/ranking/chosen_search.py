"""Opens the search that the settings choose: in Milvus, on a GPU, or on the CPU."""

import asyncio
from collections.abc import Callable
from types import ModuleType

from index.bundle import Bundle
from index.errors import InputError
from index.extras import missing_package
from service.ranking.recall_sampling import RecallSampler
from service.ranking.search import ItemSearch, open_search
from service.settings import RankingSettings
from service.telemetry.metrics import RankingMetrics


def open_chosen_search(
    settings: RankingSettings, metrics: RankingMetrics, bundle: Bundle, sampler: RecallSampler | None = None
) -> tuple[ItemSearch, str, Callable[[], None]]:
    """Open the search over the bundle's items; return it, its device (`milvus`, `cpu` or `gpu`), and what closes it.

    `sampler` measures some of its results. A Milvus that is unavailable is no error here: searches fall back until it
    responds.
    """
    if settings.milvus_uri is None:
        return open_search(settings, metrics, bundle, sampler)
    search, close = _milvus().open_milvus_search(settings, settings.milvus_uri, metrics, bundle, sampler)
    return search, "milvus", close


async def require_index(settings: RankingSettings, bundle: Bundle) -> None:
    """InputError where Milvus is to be searched and lacks the bundle's collection, or does not respond."""
    if settings.milvus_uri is not None:
        await asyncio.to_thread(_milvus().require_bundle, settings, settings.milvus_uri, bundle.bundle_id)


def _milvus() -> ModuleType:
    try:
        from service.ranking import milvus_search  # noqa: PLC0415 - comes with an extra
    except ImportError as error:
        raise InputError(missing_package(error, "RECO_MILVUS_URI") or str(error)) from error
    return milvus_search
