"""Stored items reach the bundle that serves, whatever happens meanwhile: swaps, failures, hiding, earlier events."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bundles import MADE_AT, make_features, make_living_content
from lively import World, replica, until
from stored_items import MemoryStore, deleted, put, stored

from index.bundle import Bundle, open_bundle, write_bundle
from index.errors import InputError
from index.manifest import EncoderInfo
from service.background import supervised
from service.bundles.current import CurrentBundle
from service.bundles.living_catalogue import LivingCatalogue
from service.bundles.loaded import LoadedBundle
from service.bundles.loader import BundleLoader
from service.bundles.warmup import RecentRequests
from service.encoding.encoder import ItemProblem
from service.items.item import Item, ItemChange
from service.items.store import ItemsUnavailable
from service.ranking.recall_sampling import RecallSampler
from service.ranking.rules_file import RulesFile
from service.settings import Settings

N = 40


@dataclass
class Serving:
    world: World
    store: MemoryStore
    catalogue: LivingCatalogue
    loader: BundleLoader
    current: CurrentBundle
    changes: list[int] = field(default_factory=list)

    @property
    def loaded(self) -> LoadedBundle:
        return self.current.loaded

    def announce(self, changes: Sequence[ItemChange]) -> None:
        """As the service does once they are durable."""
        self.catalogue.follow(self.store.add(changes))

    def row(self, item_id: str) -> int | None:
        return self.loaded.bundle.item_ids.row(item_id)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two bundles; training saw one item more for the second."""
    folder = tmp_path_factory.mktemp("registry")
    contents = [make_living_content(), make_living_content(seed=1, n_items=N + 1)]
    return [open_bundle(write_bundle(folder, one, created_at=MADE_AT, factory="Flat")) for one in contents]


@asynccontextmanager
async def serving(
    bundle: Bundle, folder: Path, store: MemoryStore | None = None, encoder: object = None
) -> AsyncIterator[Serving]:
    store, settings = store or MemoryStore(), Settings(registry=folder, data=folder, gpu="off")
    async with replica(bundle, folder) as world:
        changes: list[int] = []
        catalogue = LivingCatalogue(
            world.metrics,
            attach=world.live.attach,
            detach=world.live.detach,
            on_change=lambda: changes.append(1),
            store=store,
            encoder_for=lambda _: encoder,  # type: ignore[arg-type, return-value]
        )
        rules = RulesFile(None, world.metrics, on_change=lambda: None)
        sampler, lookup_for = (
            RecallSampler(0, world.metrics, random.Random(0)),
            partial(world.live.lookup_for, cache=None),
        )
        loader = BundleLoader(
            settings, world.metrics, lookup_for, world.live.attach, catalogue, rules, RecentRequests(0), sampler
        )
        current = CurrentBundle(await loader.load(bundle), lambda: None, catalogue.complete)
        catalogue.current = current
        async with supervised(world.metrics, catalogue.work):
            yield Serving(world, store, catalogue, loader, current, changes)


def test_stored_items_are_there_at_the_start_and_announced_ones_within_moments(bundles, tmp_path):
    async def go() -> None:
        store = MemoryStore()
        store.add(put(stored("old")) + deleted("item-3"))
        async with serving(bundles[0], tmp_path, store) as one:
            assert (one.row("old"), one.loaded.hidden.tolist()) == (N, [3])
            one.announce(put(stored("fresh"), stored("item-4", title="Renamed")))
            await until(lambda: one.row("fresh") == N + 1)
            assert one.loaded.items.shown(4).name == "Renamed"
            assert one.world.counted("reco_living_items", state="new") == 2

    asyncio.run(go())


def test_many_changes_make_few_states_of_the_bundle_and_none_of_all_too_many(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr("service.bundles.living_catalogue.MOST_APPLIED", 200)

    async def go() -> None:
        async with serving(bundles[0], tmp_path) as one:
            for i in range(300):
                one.announce(put(stored(f"new-{i}")))
                if not i % 30:
                    await asyncio.sleep(0)
            await until(lambda: one.row("new-299") is not None)
            assert 2 <= len(one.changes) <= 4
            assert len(one.loaded.bundle.item_ids) == N + 300

    asyncio.run(go())


class SlowStore(MemoryStore):
    """Reading waits until it may go on; what is put meanwhile is in no page."""

    def __init__(self) -> None:
        super().__init__()
        self.reading, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        found = await super().changes(after, limit)
        self.reading.set()
        await self.go_on.wait()
        return found


def test_a_put_in_the_middle_of_a_swap_is_in_the_new_bundle_from_its_first_moment_and_once(bundles, tmp_path):
    async def go() -> None:
        store = SlowStore()
        async with serving(bundles[0], tmp_path, store) as one:
            one.announce(put(stored("before"), stored("item-40"), stored("gone")))
            await until(lambda: one.row("gone") is not None)
            assert one.row("item-40") is not None
            store.go_on.clear(), store.reading.clear()
            loading = asyncio.create_task(one.loader.load(bundles[1], required=True))
            await store.reading.wait()
            one.announce(put(stored("while it reads"), stored("item-40", title="Trained now")) + deleted("gone"))
            store.go_on.set()
            loaded = await loading
            one.announce(put(stored("before the swap")))
            one.current.replace(loaded)
            ids = one.loaded.bundle.item_ids
            names = [ids[row] for row in range(len(ids))]
            assert len(set(names)) == len(names)
            assert {"before", "while it reads", "before the swap"} <= set(names)
            assert ids.row("item-40") == N  # learned, and with the stored record
            assert one.loaded.items.shown(N).name == "Trained now"
            gone = ids.row("gone")
            assert gone is None or gone in one.loaded.hidden
            one.announce(put(stored("after the swap")))
            await until(lambda: one.row("after the swap") is not None)
            assert len(one.loaded.bundle.item_ids) == len(names) + 1

    asyncio.run(go())


def test_what_was_opened_for_a_bundle_closes_after_the_swap_whatever_states_it_had(bundles, tmp_path):
    async def go() -> None:
        async with serving(bundles[0], tmp_path) as one:
            for i in range(3):
                one.announce(put(stored(f"new-{i}")))
                await until(lambda i=i: one.row(f"new-{i}") is not None)
            assert one.world.counted("reco_bundles_open") == 1
            one.current.replace(await one.loader.load(bundles[1], required=True))
            await until(lambda: one.world.counted("reco_bundles_open") == 1)
            assert one.row("new-2") == N + 3

    asyncio.run(go())


def test_an_event_that_names_an_item_before_it_is_put_counts_once_it_is(bundles, tmp_path):
    async def go() -> None:
        async with serving(bundles[0], tmp_path) as one:
            await one.world.did("ann", "fresh")
            assert not (await one.loaded.users.find("ann")).known
            before = one.loaded
            one.announce(put(stored("fresh", seed=3)))
            await until(lambda: one.row("fresh") is not None)
            profile = await one.loaded.users.find("ann")
            assert (profile.source, profile.past.tolist()) == ("fold_in", [N])
            np.testing.assert_allclose(profile.vector, one.loaded.bundle.fold_in[N], rtol=1e-5)
            older = await before.users.find("ann")  # a request that began before goes on without the item
            assert older.past.tolist() == []
            assert (await one.loaded.users.find("ann")) is profile
            one.announce(put(stored("fresh", seed=4)))
            await until(lambda: not np.allclose(one.loaded.bundle.fold_in[N], profile.vector))
            again = await one.loaded.users.find("ann")
            np.testing.assert_allclose(again.vector, one.loaded.bundle.fold_in[N], rtol=1e-5)

    asyncio.run(go())


def test_an_item_that_is_hidden_stays_hidden_in_every_state(bundles, tmp_path):
    async def go() -> None:
        async with serving(bundles[0], tmp_path) as one:
            one.announce(put(stored("fresh")))
            await until(lambda: one.row("fresh") is not None)
            await one.world.live.set_hidden("fresh", hidden=True)
            await one.world.live.set_hidden("item-7", hidden=True)
            assert one.loaded.hidden.tolist() == [7, N]
            one.announce(put(stored("other"), stored("item-9", available=False)))
            await until(lambda: one.row("other") is not None)
            assert one.loaded.hidden.tolist() == [7, 9, N]
            await one.world.live.set_hidden("fresh", hidden=False)
            assert one.loaded.hidden.tolist() == [7, 9]

    asyncio.run(go())


class Encoder:
    """Makes features of words alone; fails the first time where it must."""

    def __init__(self, *, fails: int = 0) -> None:
        self.problems: dict[str, ItemProblem] = {}
        self.fails = fails
        self.asked: list[str] = []

    def due(self) -> list[str]:
        return list(self.problems)

    def forget(self, item_ids: Sequence[str]) -> None:
        for item_id in item_ids:
            self.problems.pop(item_id, None)

    async def encode(self, items: Sequence[Item]) -> list[dict[str, list[float]]]:
        await asyncio.sleep(0)
        self.asked += [item.item_id for item in items]
        self.problems.clear()
        if self.fails:
            self.fails -= 1
            self.problems |= {item.item_id: ItemProblem("no answer", 1, 0.0) for item in items}
            return [{} for _ in items]
        return [{"text": make_features(1, seed=len(item.text))[0]["text"]} for item in items]


@pytest.fixture
def encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bundle:
    monkeypatch.setattr("service.bundles.living_catalogue.RETRY_S", 0.01)
    info = EncoderInfo(name="words", version="1", width=5, digest="a" * 64)
    content = make_living_content(encoders={"text": info})
    return open_bundle(write_bundle(tmp_path / "encoded", content, created_at=MADE_AT, factory="Flat"))


def test_raw_words_are_encoded_at_the_start_and_when_they_come_and_again_after_a_failure(encoding, tmp_path):
    async def go() -> None:
        store, encoder = MemoryStore(), Encoder()
        store.add(put(stored("old", text="red", features={})))
        async with serving(encoding, tmp_path, store, encoder) as one:
            assert one.row("old") == N
            encoder.fails = 2
            one.announce(put(stored("fresh", text="deep blue", features={})))
            await until(lambda: one.row("fresh") is not None)
            assert one.loaded.living.not_ranked == {}
            assert encoder.asked.count("fresh") == 3
            one.announce(put(stored("fresh", text="deep blue", features={}, attributes={"price": 2})))
            await until(lambda: one.loaded.bundle.item(N + 1)["attributes"] == {"price": 2})
            assert encoder.asked.count("fresh") == 3  # the same words

    asyncio.run(go())


class BrokenStore(MemoryStore):
    async def changes(self, after: int, limit: int) -> list[ItemChange]:
        raise ItemsUnavailable("the store is gone")


def test_a_start_without_its_store_serves_and_a_swap_waits_for_it(bundles, tmp_path):
    async def go() -> None:
        async with serving(bundles[0], tmp_path, BrokenStore()) as one:
            one.announce(put(stored("fresh")))  # the follower reads them later
            await until(lambda: one.row("fresh") is not None)
            with pytest.raises(InputError, match="the stored items cannot be read: the store is gone"):
                await one.loader.load(bundles[1], required=True)

    asyncio.run(go())


def test_after_a_loss_of_the_store_only_what_comes_again_is_shown(bundles, tmp_path):
    async def go() -> None:
        async with serving(bundles[0], tmp_path) as one:
            one.announce(put(stored("lost"), stored("kept"), stored("item-2", title="Renamed")))
            await until(lambda: one.row("kept") is not None)
            one.catalogue.reset()
            one.announce(put(stored("kept")))
            await until(lambda: one.loaded.hidden.tolist() == [N])
            assert one.loaded.items.shown(2).name == bundles[0].item(2)["title"]

    asyncio.run(go())
