"""The names of bundles under which events are counted: those of the registry, so that callers cannot make up labels."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from index.errors import InputError
from service.background import start_worker
from service.events.quality import UNKNOWN_BUNDLE
from service.telemetry.task_metrics import TaskMetrics

LIST_EVERY_S = 1.0  # a bundle takes longer from its upload to its first answer
LIST_WAIT_S = 1.0  # how long events wait for a listing; after it an unknown name counts as such

log = structlog.get_logger()


def any_bundle(bundle: str | None) -> str:
    """The label where no registry is at hand: the name itself, "" where there is none."""
    return bundle or ""


class KnownBundles:
    """The bundles that the registry has, or had when it was listed; `list_ids` lists it and may block.

    The registry is listed when an event names a bundle that is not known, at most once every LIST_EVERY_S.
    """

    def __init__(self, list_ids: Callable[[], Iterable[str]], metrics: TaskMetrics, clock: Callable[[], float]) -> None:
        self._list_ids = list_ids
        self._metrics = metrics
        self._clock = clock
        self._known: set[str] = set()
        self._listed_at: float | None = None
        self._listing: asyncio.Task[None] | None = None

    def label(self, bundle: str | None) -> str:
        """The name of a known bundle, UNKNOWN_BUNDLE for any other name, "" for none."""
        return "" if bundle is None else bundle if bundle in self._known else UNKNOWN_BUNDLE

    def add(self, bundle: str) -> None:
        """Know a bundle that serves here, whether or not the registry can be listed."""
        self._known.add(bundle)

    async def learn(self, bundles: Iterable[str | None]) -> None:
        """List the registry if one of the names is not known; on return `label` is right for all of them."""
        if self._known.issuperset({bundle for bundle in bundles if bundle}):
            return
        if self._listing is None:
            now = self._clock()
            if self._listed_at is not None and now - self._listed_at < LIST_EVERY_S:
                return
            self._listing = start_worker(self._metrics, "known_bundles", self._list())
        await asyncio.wait((self._listing,), timeout=LIST_WAIT_S)

    async def _list(self) -> None:
        try:
            self._known.update(await asyncio.to_thread(lambda: list(self._list_ids())))
        except (OSError, InputError) as error:
            log.warning("the registry cannot be listed for /quality", error=str(error))
        finally:
            self._listed_at = self._clock()
            self._listing = None
