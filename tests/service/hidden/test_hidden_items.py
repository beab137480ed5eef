import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from fleets import cluster
from servers import Valkey, serving

from deploy.processes import free_port
from index.errors import InputError
from service.hidden.hidden_items import HiddenItems, HiddenItemsUnavailableError
from service.hidden.redis_store import RedisHiddenItems
from service.redis.client import connect
from service.redis.pubsub import PubSub
from service.telemetry.metrics import Metrics

SET, MARK = "{reco:hidden}", "{reco:hidden}:mark"


@asynccontextmanager
async def hidden(folder: Path, url: str | None = None, told: list[frozenset[str]] | None = None) -> AsyncIterator[Any]:
    """The hidden items of one replica, whose file lies in the folder."""
    metrics, redis = Metrics(), None if url is None else connect(url)
    shared = None
    if redis is not None:
        shared = RedisHiddenItems(redis, "reco", PubSub(redis, "reco", folder.name, metrics))
    try:
        found = HiddenItems(
            folder / "control.sqlite", shared, metrics.hidden_items, (told if told is not None else []).append
        )
        await found.poll()
        yield found
    finally:
        if redis is not None:
            await redis.aclose()


def test_what_is_hidden_is_still_hidden_after_a_restart_and_shown_when_it_is_shown(tmp_path: Path) -> None:
    async def run() -> None:
        told: list[frozenset[str]] = []
        async with hidden(tmp_path, told=told) as items:
            await items.set("a", hidden=True)
            await items.set("b:é/\n", hidden=True)
            await items.set("a", hidden=True)  # again: nothing changes, nobody is told
        async with hidden(tmp_path) as items:
            assert items.ids == {"a", "b:é/\n"}
            await items.set("a", hidden=False)
        async with hidden(tmp_path) as items:
            assert items.ids == {"b:é/\n"}
        assert told == [{"a"}, {"a", "b:é/\n"}]

    asyncio.run(run())


def test_a_file_that_is_none_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "control.sqlite").write_text("not a database " * 100)
    with pytest.raises(InputError, match=r"control file .*control.sqlite: cannot be used"):
        HiddenItems(tmp_path / "control.sqlite", None, Metrics().hidden_items, lambda _: None)


def test_a_file_that_takes_no_change_is_an_error_and_nothing_changes(tmp_path: Path) -> None:
    async def run() -> None:
        async with hidden(tmp_path) as items:
            await items.set("a", hidden=True)
            with closing(items._file._connect()) as other:
                other.execute("DROP TABLE hidden")
            with pytest.raises(HiddenItemsUnavailableError, match="control file cannot be written"):
                await items.set("b", hidden=True)
            assert items.ids == {"a"}

    asyncio.run(run())


def test_replicas_agree_at_their_next_look(valkey: Valkey, tmp_path: Path) -> None:
    async def run() -> None:
        async with hidden(tmp_path / "one", valkey.url) as one, hidden(tmp_path / "two", valkey.url) as two:
            await one.set("a", hidden=True)
            await two.set("b", hidden=True)  # it has not looked since
            await one.poll()
            await two.poll()
            assert one.ids == two.ids == {"a", "b"}
            await one.set("b", hidden=False)
            await two.poll()
            assert two.ids == {"a"}
        async with hidden(tmp_path / "three", valkey.url) as three:
            assert three.ids == {"a"}

    asyncio.run(run())


HURTS: dict[str, Callable[[Any], object]] = {
    "flushed": lambda client: client.flushall(),
    "set evicted": lambda client: client.delete(SET),
    "mark evicted": lambda client: client.delete(MARK),
    "another type under the set": lambda client: client.set(SET, "x"),
    "another type under the mark": lambda client: (client.delete(MARK), client.lpush(MARK, "x")),
}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_redis_that_lost_what_is_hidden_is_told_again_and_shows_nothing(
    valkey: Valkey, tmp_path: Path, hurt: str
) -> None:
    async def run() -> None:
        async with hidden(tmp_path / "one", valkey.url) as one, hidden(tmp_path / "two", valkey.url) as two:
            await one.set("a", hidden=True)
            await one.set("b", hidden=True)
            await two.poll()
            with valkey.client() as client:
                HURTS[hurt](client)
                await two.poll()
                await one.poll()
                assert one.ids == two.ids == {"a", "b"}
                assert client.smembers(SET) == {b"a", b"b"}
                HURTS[hurt](client)
                await one.set("c", hidden=True)
                await two.poll()
                assert two.ids == {"a", "b", "c"}

    asyncio.run(run())


def test_while_redis_is_away_no_change_is_acknowledged_and_what_was_hidden_stays_hidden(
    valkey: Valkey, tmp_path: Path
) -> None:
    async def run() -> None:
        async with hidden(tmp_path, valkey.url) as items:
            await items.set("a", hidden=True)
            pid = valkey.pid()
            os.kill(pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(60):
                    with pytest.raises(HiddenItemsUnavailableError, match="cannot be reached"):
                        await items.set("b", hidden=True)
                    await items.poll()
            finally:
                os.kill(pid, signal.SIGCONT)
            assert (items.ids, items.state) == ({"a"}, "last known")
        valkey.kill()
        async with hidden(tmp_path, valkey.url) as items:  # started without Redis: it knows from its file
            assert (items.ids, items.state) == ({"a"}, "last known")

    asyncio.run(run())


def test_a_replica_that_never_read_the_shared_items_says_so(valkey: Valkey, tmp_path: Path) -> None:
    async def run() -> None:
        async with hidden(tmp_path) as items:
            assert items.state == "current"  # no Redis: the file is all there is
        async with hidden(tmp_path / "old", valkey.url) as items:
            assert (items.ids, items.state) == (frozenset(), "current")
        valkey.kill()
        async with hidden(tmp_path / "old", valkey.url) as items:
            assert (items.ids, items.state) == (frozenset(), "last known")
        async with hidden(tmp_path / "new", valkey.url) as items:
            assert (items.ids, items.state) == (frozenset(), "unknown")
            valkey.start()
            while items.state != "current":
                await items.poll()

    asyncio.run(run())


def test_readyz_says_that_the_hidden_items_are_unknown(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}") as client:
        assert client.get("/readyz").json()["hidden_items"] == "unknown"


def test_a_full_redis_refuses_the_change_and_nothing_is_half_done(valkey: Valkey, tmp_path: Path) -> None:
    async def run() -> None:
        async with hidden(tmp_path, valkey.url) as items:
            await items.set("a", hidden=True)
            with valkey.client() as client:
                client.config_set("maxmemory", "1")
                with pytest.raises(HiddenItemsUnavailableError):
                    await items.set("b", hidden=True)
                await items.poll()
                assert items.ids == {"a"}
                client.config_set("maxmemory", "0")
            await items.set("b", hidden=True)
            assert items.ids == {"a", "b"}

    asyncio.run(run())


def test_items_are_hidden_in_a_cluster_too(tmp_path: Path) -> None:
    async def run(url: str) -> None:
        async with hidden(tmp_path / "one", url) as one, hidden(tmp_path / "two", url) as two:
            await one.set("a", hidden=True)
            await two.poll()
            assert two.ids == {"a"}

    with cluster(tmp_path / "cluster") as fleet:
        asyncio.run(run(fleet.url))
