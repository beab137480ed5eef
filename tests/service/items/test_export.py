import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_items import NOON, made
from processes import run

from index.errors import InputError
from service.items import export
from service.items.export import export_items
from service.items.item import Item
from service.items.open_store import open_store
from service.items.store import ItemStore
from service.settings import Settings
from service.telemetry.metrics import Metrics


def use(folder: Path, steps: Callable[[ItemStore], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_store(Settings(registry=folder), Metrics()) as store:
            await steps(store)

    asyncio.run(opened())


RICH = made(
    "用户\x00",
    categories=["chair", "new"],
    attributes={"price": 1.5, "colours": ["red"], "new": True},
    features={"text": [0.5, 0.25]},
    image="a.jpg",
    text="words",
    available=False,
)


def test_each_item_is_a_row_and_of_a_deleted_one_its_id(tmp_path: Path) -> None:
    async def steps(store: ItemStore) -> None:
        await store.write({RICH.item_id: RICH, "plain": Item(item_id="plain", created_at=1, updated_at=2)}, {})  # type: ignore[call-arg]  # the others have defaults
        await store.write({"gone": None}, {})
        assert tuple(await export_items(store, tmp_path / "items.parquet")) == (2, 1, 3)

    use(tmp_path, steps)
    rich, plain, gone = pq.read_table(tmp_path / "items.parquet").to_pylist()
    assert rich == {
        "item_id": "用户\x00",
        "title": RICH.title,
        "category": "chair",
        "text": "words",
        "image": "a.jpg",
        "attributes": '{"price":1.5,"colours":["red"],"new":true}',
        "categories": ["chair", "new"],
        "available": False,
        "created_at": NOON,
        "updated_at": NOON,
        "features_text": [0.5, 0.25],
        "features_image": None,
        "features_multimodal": None,
        "encoded_image": None,
        "image_encoder": None,
        "deleted": False,
    }
    assert (plain["category"], plain["categories"], plain["available"], plain["deleted"]) == ("", [], True, False)
    assert gone == dict.fromkeys(rich) | {"item_id": "gone", "deleted": True}


def test_an_item_that_changes_during_an_export_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK", 3)

    async def steps(store: ItemStore) -> None:
        await store.write({f"{i}": made(f"{i}") for i in range(10)}, {})
        read, told = store.changes, []

        async def and_change(after: int, limit: int) -> object:
            page = await read(after, limit)
            if after < 9:
                await store.write({"0": made("0", title=f"after {after}")}, {})
            return page

        monkeypatch.setattr(store, "changes", and_change)
        done = await export_items(store, tmp_path / "i.parquet", on_progress=lambda *at: told.append(at))
        assert (done.items, done.deleted, told[-1]) == (10, 0, (10, 10))

    use(tmp_path, steps)
    rows = pq.read_table(tmp_path / "i.parquet").to_pylist()
    assert sorted(row["item_id"] for row in rows) == [f"{i}" for i in range(10)]
    assert next(row["title"] for row in rows if row["item_id"] == "0").startswith("after")


def test_a_failed_export_leaves_the_file_of_before(tmp_path: Path) -> None:
    async def steps(store: ItemStore) -> None:
        with pytest.raises(InputError, match="cannot be written: No such file or directory; nothing was left"):
            await export_items(store, tmp_path / "absent" / "items.parquet")

    use(tmp_path, steps)


def test_the_command_line_writes_the_file_and_says_what_is_in_it(tmp_path: Path) -> None:
    async def write(store: ItemStore) -> None:
        await store.write({"a": made("a"), "b": None}, {})

    use(tmp_path, write)
    out = tmp_path / "items.parquet"
    done = run("export-items", "--out", str(out), registry=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"file": str(out), "items": 1, "deleted": 1, "last_position": 2}
    assert pq.read_table(out).num_rows == 2
