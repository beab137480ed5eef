"""What every item store promises, SQLite and Redis alike."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_items import made
from servers import Valkey

from service.errors import InvalidRequestError
from service.items.item import Item
from service.items.open_store import open_store
from service.items.store import ItemsChangedError, ItemStore
from service.settings import Settings
from service.telemetry.metrics import Metrics

Steps = Callable[[ItemStore], Awaitable[None]]
Use = Callable[[Steps], None]


@pytest.fixture(params=["sqlite", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        return {"registry": tmp_path}
    server: Valkey = request.getfixturevalue("durable")
    with server.client() as client:
        client.flushall()
    return {"registry": tmp_path, "event_log": "redis", "redis_url": server.url}


@pytest.fixture
def use(where: dict[str, Any]) -> Use:
    """Open the store, take the steps, close it; the next use finds what the last one left."""

    def run(steps: Steps) -> None:
        async def opened() -> None:
            async with open_store(Settings(**where), Metrics()) as store:
                await steps(store)

        asyncio.run(opened())

    return run


async def all_changes(store: ItemStore) -> list[tuple[int, str, bool]]:
    return [(change.position, change.item_id, change.item is not None) for change in await store.changes(0, 100_000)]


def test_items_are_read_back_as_they_were_put_and_are_there_after_the_end(use: Use) -> None:
    rich = made(
        "rich",
        attributes={"price": 1.5, "n": 2**53, "new": True, "tags": ["a", ""], "since": "2026-11-29", "odd": "\x00 用"},
        features={"text": [0.1, -1e300], "image": [0.0]},
        image="https://shop/rich.jpg",
        text="words",
        available=False,
    )

    async def write(store: ItemStore) -> None:
        assert await store.write({"plain": made("plain"), "rich": rich}, {"price": "number"}) == 2

    async def read(store: ItemStore) -> None:
        assert await store.get(["rich", "none", "plain"]) == [rich, None, made("plain")]
        assert (await store.last_position(), await store.count(), await store.types()) == (2, 2, {"price": "number"})

    use(write)
    use(read)


def test_a_changed_item_gets_a_new_position_and_a_deleted_one_is_told(use: Use) -> None:
    async def steps(store: ItemStore) -> None:
        assert (await store.last_position(), await store.changes(0, 10), await store.count()) == (0, [], 0)
        await store.write({name: made(name) for name in "abc"}, {})
        await store.write({"a": made("a", title="Stool")}, {})
        await store.write({"b": None, "never": None}, {})
        assert await all_changes(store) == [(3, "c", True), (4, "a", True), (5, "b", False), (6, "never", False)]
        assert [change.item_id for change in await store.changes(3, 2)] == ["a", "b"]
        assert (await store.entries(["b", "x"]), await store.count()) == ([(5, "b", None), None], 2)
        assert await store.write({}, {}) == 6

    use(steps)


def test_a_write_is_refused_where_somebody_else_was_first_and_nothing_of_it_is_kept(use: Use) -> None:
    async def steps(store: ItemStore) -> None:
        await store.write({"a": made("a"), "b": made("b")}, {})
        changes = {"new": made("new"), "a": made("a", title="mine")}
        with pytest.raises(ItemsChangedError, match="'a'"):
            await store.write(changes, {"size": "list"}, expected={"new": 0, "a": 7})
        with pytest.raises(ItemsChangedError, match="'b'"):
            await store.write({"b": made("b")}, {}, expected={"b": 0})
        assert (await all_changes(store), await store.types()) == ([(1, "a", True), (2, "b", True)], {})
        assert await store.write(changes, {}, expected={"new": 0, "a": 1}) == 4

    use(steps)


def test_a_type_that_is_known_differs_from_no_other_unless_it_is_declared_anew_in_time(use: Use) -> None:
    async def steps(store: ItemStore) -> None:
        await store.write({}, {"price": "number"})
        with pytest.raises(InvalidRequestError, match=r"attributes.price: found string, expected number"):
            await store.write({"a": made("a")}, {"price": "string", "size": "list"})
        await store.write({"a": made("a")}, {})
        with pytest.raises(ItemsChangedError):
            await store.write({}, {"price": "string"}, retyped_at=0)
        await store.write({}, {"price": "string"}, retyped_at=1)
        assert (await store.types(), await store.count()) == ({"price": "string"}, 1)

    use(steps)


def test_of_writes_at_once_one_that_is_refused_takes_no_other_along(use: Use) -> None:
    async def steps(store: ItemStore) -> None:
        await store.write({"a": made("a")}, {})
        writes = [store.write({f"n{i}": made(f"n{i}"), "a": made("a")}, {}, expected={"a": 1}) for i in range(20)]
        others = [store.write({f"o{i}": made(f"o{i}")}, {}) for i in range(20)]
        found = await asyncio.gather(*writes, *others, return_exceptions=True)
        assert sum(isinstance(one, ItemsChangedError) for one in found) == 19
        assert sum(isinstance(one, int) for one in found) == 21
        assert await store.count() == 22
        positions = [change.position for change in await store.changes(0, 100)]
        assert len(positions) == 22
        assert positions == sorted(set(positions))

    use(steps)


def test_pages_of_changes_are_whole_at_any_length(use: Use) -> None:
    async def steps(store: ItemStore) -> None:
        await store.write({f"{i}": made(f"{i}", text="x" * 20_000) for i in range(1_200)}, {})
        assert len(await store.changes(0, 1_100)) == 1_100
        assert [change.position for change in await store.changes(1_100, 1_000)] == list(range(1_101, 1_201))
        assert len(await store.entries([f"{i}" for i in range(1_200)])) == 1_200

    use(steps)


ids = st.text(min_size=1, max_size=3)
items = st.builds(lambda title, available: {"title": title, "available": available}, st.text(max_size=5), st.booleans())
steps_of = st.lists(st.dictionaries(ids, st.none() | items, max_size=4), max_size=8)


@given(steps_of)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_writes_leaves_what_a_dictionary_holds(durable: Valkey, tmp_path: Path, writes: Any) -> None:
    with durable.client() as client:
        client.flushall()
    (tmp_path / "items.sqlite").unlink(missing_ok=True)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"items.sqlite{suffix}").unlink(missing_ok=True)
    redis = {"event_log": "redis", "redis_url": durable.url}

    async def run(**where: Any) -> None:
        async with open_store(Settings(registry=tmp_path, data=tmp_path, **where), Metrics()) as store:
            expected: dict[str, Item | None] = {}
            for write in writes:
                changes = {name: None if one is None else made(name, **one) for name, one in write.items()}
                await store.write(changes, {})
                for item_id, item in changes.items():  # moved to the end
                    expected.pop(item_id, None)
                    expected[item_id] = item
            assert [(one.item_id, one.item) for one in await store.changes(0, 1_000)] == list(expected.items())
            assert await store.get(list(expected)) == list(expected.values())
            assert await store.count() == sum(item is not None for item in expected.values())

    asyncio.run(run())
    asyncio.run(run(**redis))
