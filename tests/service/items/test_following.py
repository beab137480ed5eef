"""Every process learns of every change, once, in order, whoever wrote it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from item_worlds import Replica, replica
from made_items import made
from servers import Valkey, logged_by

from index.bundle import Bundle
from service.items import following as module
from service.items.following import ItemFollower
from service.items.item import ItemChange
from service.items.open_store import open_store
from service.items.store import ItemStore
from service.settings import Settings
from service.telemetry.metrics import Metrics


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def two(bundle: Bundle, folder: Path, durable: Valkey, **changes: Any) -> Any:
    def run(steps: Any) -> None:
        fields = {"event_log": "redis", "redis_url": durable.url, "namespace": folder.name[-40:], **changes}

        async def go() -> None:
            async with AsyncExitStack() as stack:
                names = ("a", "b")
                replicas = [await stack.enter_async_context(replica(bundle, folder / n, **fields)) for n in names]
                await steps(*replicas)

        asyncio.run(go())

    return run


def test_another_replica_hears_of_a_change_by_its_message_alone(
    bundle: Bundle, tmp_path: Path, durable: Valkey
) -> None:
    @two(bundle, tmp_path, durable, live_poll_s=60)
    async def _(one: Replica, other: Replica) -> None:
        await one.put("new", title="A")
        assert [change.item_id for change in one.told] == ["new"]  # before the response
        await until(lambda: other.told)
        await other.items.delete("new")
        await until(lambda: one.told[-1].item is None)
        assert [change.position for change in one.told] == [change.position for change in other.told] == [1, 2]


def test_another_replica_finds_a_change_by_polling_where_no_message_comes(
    bundle: Bundle, tmp_path: Path, durable: Valkey
) -> None:
    @two(bundle, tmp_path, durable, live_poll_s=0.05)
    async def _(one: Replica, other: Replica) -> None:
        await one.items.store.write({"silent": made("silent")}, {})
        await until(lambda: other.told)
        assert other.newest() == {"silent": 1}


def test_the_limit_counts_what_others_put_and_what_a_new_bundle_lacks(bundle: Bundle, tmp_path: Path) -> None:
    async def run() -> None:
        async with replica(bundle, tmp_path, live_poll_s=0.05) as one, replica(bundle, tmp_path) as other:
            await other.items.store.write({"a": made("a"), "item-1": made("item-1"), "b": None}, {})
            await until(lambda: one.items.untrained.ids == {"a"})
            one.items.untrained.ids = {"of another bundle"}
            one.items.untrained.recount_soon()
            await until(lambda: "a" in one.items.untrained.ids)

    asyncio.run(run())


class Follower:
    """A follower of a file, and what it told."""

    def __init__(self, store: ItemStore) -> None:
        self.told: list[tuple[str, int]] = []
        self.resets = 0
        self.follower = ItemFollower(store, Metrics(), poll_s=1, pubsub=None, siblings=None)
        self.follower.listeners.append(self._tell)
        self.follower.on_reset.append(self._reset)

    def _tell(self, changes: Sequence[ItemChange]) -> None:
        self.told += [(change.item_id, change.position) for change in changes]

    def _reset(self) -> None:
        self.resets += 1


def test_a_change_that_was_accepted_here_is_told_once_and_never_after_a_newer_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_store(Settings(registry=tmp_path), Metrics()) as store:
            one = Follower(store)
            await store.write({"theirs": made("theirs"), "ours": made("ours")}, {})
            await one.follower.accept([ItemChange(2, "ours", made("ours"))])
            assert one.told == [("ours", 2)]
            await one.follower.poll()
            assert one.told == [("ours", 2), ("theirs", 1)]
            await store.write({"ours": made("ours", title="3")}, {})
            await one.follower.poll()
            await one.follower.accept([ItemChange(2, "ours", made("ours"))])  # its request went on late
            assert one.told[2:] == [("ours", 3)]

    asyncio.run(run())


def test_a_store_that_lost_its_changes_is_read_from_its_beginning(tmp_path: Path) -> None:
    async def run() -> None:
        settings = Settings(registry=tmp_path)
        async with open_store(settings, Metrics()) as store:
            await store.write({name: made(name) for name in "abc"}, {})
            one = Follower(store)
            await one.follower.poll()
        (tmp_path / "service" / "items.sqlite").unlink()
        async with open_store(settings, Metrics()) as store:
            await store.write({"new": made("new")}, {})
            one.follower._store = store
            with logged_by(module) as logs:
                await one.follower.poll()
            assert (one.resets, one.told[3:]) == (1, [("new", 1)])
            assert "lost changes" in logs[0]["event"]

    asyncio.run(run())
