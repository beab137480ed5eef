"""Keeps the bundles that serve, and each that is about to, up to date with the stored items.

Changes are gathered for a moment: each new state of a bundle serves all that came meanwhile. A bundle that is being
prepared reads the whole store, and what is announced during that time waits until it serves, so that no change is lost.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from weakref import ReferenceType, WeakKeyDictionary, ref

import structlog

from index.bundle import Bundle
from index.content_path import Features
from index.errors import InputError
from service.background import Work
from service.bundles.current import CurrentBundle
from service.bundles.loaded import Lifetime, LoadedBundle
from service.catalogue.living_state import LivingState
from service.encoding.encoder import ItemEncoder
from service.items.item import ItemChange
from service.items.store import ItemStore, ItemsUnavailable
from service.telemetry.metrics import CatalogueMetrics

GATHER_S = 0.02
MOST_APPLIED = 1_000  # changes for one state: requests wait while its parts are made
PAGE = 1_000  # changes read at once
AT_ONCE = 64  # items encoded in one call
ENCODE_WAIT_S = 30.0  # a bundle waits so long for features of its items before it serves
RETRY_S = 5.0  # between looks for items to be encoded again

STATES = ("new", "changed", "closed", "waiting", "not_ranked")

EncoderFor = Callable[[Bundle], ItemEncoder | None]

log = structlog.get_logger()


@dataclass
class _Announced:
    """What is to be applied to the living items of a bundle."""

    changes: list[ItemChange] = field(default_factory=list)
    lost: bool = False  # whether the store lost all changes before these

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.lost)

    def take(self, most: int | None) -> "_Announced":
        """Take the first changes out, or all."""
        taken = _Announced(self.changes[:most], self.lost)
        self.changes, self.lost = [] if most is None else self.changes[most:], False
        return taken

    def add_to(self, living: LivingState) -> None:
        if self.lost:
            living.reset()
        living.apply(self.changes)


class LivingCatalogue:
    """Applies changes of items to loaded bundles. All methods are for the event loop's thread.

    attach, detach: begin and end to hide the hidden items in a loaded bundle. on_change: responses are outdated.
    """

    def __init__(
        self,
        metrics: CatalogueMetrics,
        *,
        attach: Callable[[LoadedBundle], None],
        detach: Callable[[LoadedBundle], None],
        on_change: Callable[[], None],
        store: ItemStore | None = None,
        encoder_for: EncoderFor = lambda _: None,
    ) -> None:
        self.current: CurrentBundle | None = None  # the published bundle, once it is loaded
        self.arms: list[CurrentBundle] = []  # bundles that serve beside it
        self.encoder_for = encoder_for
        self._store = store
        self._metrics = metrics
        self._attach, self._detach, self._on_change = attach, detach, on_change
        self._announced: WeakKeyDictionary[Lifetime, _Announced] = WeakKeyDictionary()  # to each bundle that read all
        self._encoders: WeakKeyDictionary[Lifetime, ItemEncoder] = WeakKeyDictionary()
        self._arrived, self._wanted = asyncio.Event(), asyncio.Event()
        self._changing = asyncio.Lock()  # held while the living items of a bundle that serves are changed
        for state in STATES:
            metrics.living_items.labels(state).set_function(partial(_count, ref(self), state))

    @property
    def work(self) -> dict[str, Work]:
        """The background tasks."""
        return {"living_items": self.run, "encoded_items": self.encode}

    @property
    def counts(self) -> dict[str, int]:
        """How many living items of the published bundle there are, by state."""
        return {} if self.current is None else self.current.loaded.living.counts

    def feature_problem(self, features: Features) -> str | None:
        """What is wrong with an item's features, for the published bundle; None where nothing is."""
        path = self._published.loaded.living.path
        return None if path is None else path.problem(features)

    def follow(self, changes: Sequence[ItemChange]) -> None:
        """A listener of changes that are durable; they are applied shortly."""
        for announced in self._announced.values():
            announced.changes.extend(changes)
        self._arrived.set()

    def reset(self) -> None:
        """The store lost changes: all of its items come again."""
        for announced in self._announced.values():
            announced.changes.clear()
            announced.lost = True
        self._arrived.set()

    async def catch_up(self, loaded: LoadedBundle, encoder: ItemEncoder | None, *, required: bool) -> LoadedBundle:
        """The bundle with all stored items, before it serves; what it needs encoded, this encoder encodes.

        InputError where the items are `required` and cannot be read; else they follow when they can be.
        """
        if self._store is None:
            return loaded
        self._announced[loaded.lifetime] = _Announced()
        if encoder is not None:
            self._encoders[loaded.lifetime] = encoder
        try:
            await self._read_all(self._store, loaded)
        except ItemsUnavailable as error:
            if required:
                raise InputError(f"the stored items cannot be read: {error.detail}") from error
            log.warning("the stored items cannot be read; serving without them", error=error.detail)
        await self._encode_first(loaded)
        return loaded if loaded.living.is_empty else self._refreshed(loaded)

    async def _read_all(self, store: ItemStore, loaded: LoadedBundle) -> None:
        position, more = 0, True
        while more:
            page = await store.changes(position, PAGE)
            await asyncio.to_thread(loaded.living.read, page)
            more = len(page) == PAGE
            position = page[-1].position if page else position

    async def _encode_first(self, loaded: LoadedBundle) -> None:
        try:
            async with asyncio.timeout(ENCODE_WAIT_S):
                while loaded.living.wanted:
                    await self._encode_some(loaded)
        except TimeoutError:
            log.warning("items are not encoded yet; serving without them", items=len(loaded.living.wanted))

    def complete(self, loaded: LoadedBundle) -> LoadedBundle:
        """The bundle with what was announced since it caught up. The caller lets it serve at once."""
        late = self._take(loaded, most=None)
        if loaded.living.wanted:
            self._wanted.set()
        if late is None:
            return loaded
        late.add_to(loaded.living)
        return self._refreshed(loaded)

    async def run(self) -> None:
        """Apply what is announced, until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            async with self._changing:
                await self._apply_to_all()

    async def _apply_to_all(self) -> None:  # a frame of its own: a task's local variables would keep a bundle open
        for slot in self._slots:
            await self._apply_announced(slot)

    async def _apply_announced(self, slot: CurrentBundle) -> None:
        loaded, start = slot.loaded, time.perf_counter()
        announced = self._take(loaded, MOST_APPLIED)
        if announced is None:
            return
        if self._announced[loaded.lifetime].changes:
            self._arrived.set()
        await asyncio.to_thread(announced.add_to, loaded.living)
        if (encoder := self._encoders.get(loaded.lifetime)) is not None:
            encoder.forget([change.item_id for change in announced.changes if change.item is None])
        self._replace(slot, loaded)
        self._metrics.living_seconds.observe(time.perf_counter() - start)

    def _take(self, loaded: LoadedBundle, most: int | None) -> _Announced | None:
        """Take what was announced to the bundle and is not applied; None where there is nothing."""
        announced = self._announced.get(loaded.lifetime)
        return None if announced is None or announced.is_empty else announced.take(most)

    def encoding_problem(self, item_id: str) -> str | None:
        """Why the encoder could not make all features of an item; None where it could, or was not asked."""
        encoder = self._encoders.get(self._published.loaded.lifetime)
        problem = None if encoder is None else encoder.problems.get(item_id)
        return None if problem is None else problem.reason

    async def encode(self) -> None:
        """Let the encoders make the features of items that have none, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), RETRY_S)
            self._wanted.clear()
            await self._encode_for_all()

    async def _encode_for_all(self) -> None:
        for slot in self._slots:
            await self._encode_wanted(slot)

    async def _encode_wanted(self, slot: CurrentBundle) -> None:
        loaded = slot.loaded
        encoder = self._encoders.get(loaded.lifetime)
        if encoder is None:
            return
        async with self._changing:
            loaded.living.encode_again(encoder.due())
        while loaded.living.wanted and loaded.lifetime is slot.loaded.lifetime:
            await self._encode_some(loaded)
            async with self._changing:
                self._replace(slot, loaded)

    async def _encode_some(self, loaded: LoadedBundle) -> None:
        async with self._changing:
            items = list(islice(loaded.living.wanted.values(), AT_ONCE))
        encoder = self._encoders[loaded.lifetime]  # items wait only where there is one
        made = await encoder.encode(items)
        problems = {
            item.item_id: encoder.problems[item.item_id].reason for item in items if item.item_id in encoder.problems
        }
        async with self._changing:
            await asyncio.to_thread(loaded.living.encoded, list(zip(items, made, strict=True)), problems)

    def _replace(self, slot: CurrentBundle, loaded: LoadedBundle) -> None:
        """Serve the newest state of the bundle, unless another bundle has its place by now."""
        if loaded.lifetime is not slot.loaded.lifetime:
            return
        slot.refresh(self._refreshed(slot.loaded))
        if loaded.living.wanted:
            self._wanted.set()
        self._on_change()

    def _refreshed(self, loaded: LoadedBundle) -> LoadedBundle:
        refreshed = loaded.refreshed()
        self._detach(loaded)
        self._attach(refreshed)
        return refreshed

    @property
    def _slots(self) -> list[CurrentBundle]:
        return [self._published, *self.arms]

    @property
    def _published(self) -> CurrentBundle:
        assert self.current is not None  # set before any task runs
        return self.current


def _count(catalogue: ReferenceType[LivingCatalogue], state: str) -> int:
    """Metrics outlive the service: a reference from them would keep its bundle open."""
    living = catalogue()
    return 0 if living is None else living.counts.get(state, 0)
