"""Offline lists have the stored items: new ones by their features, deleted ones not."""

import asyncio
from pathlib import Path

import polars as pl
from bundles import make_features, make_living_content
from servers import publish
from stored_items import deleted, put, stored

from service.batch.lists import ListOptions
from service.batch.run import RunRequest, make_lists
from service.items.item import ItemChange
from service.items.open_store import open_store
from service.settings import Settings
from service.telemetry.metrics import Metrics


def test_offline_lists_show_new_items_and_no_deleted_ones(tmp_path: Path) -> None:
    publish(tmp_path / "registry", make_living_content())
    settings = Settings(registry=tmp_path / "registry", data=tmp_path / "data")
    changes: list[ItemChange] = [
        *put(*(stored(f"new-{i}", features=make_features(1, seed=i)[0]) for i in range(5))),
        *put(stored("item-3", available=False)),
        *deleted("item-2"),
    ]

    async def make() -> None:
        async with open_store(settings, Metrics()) as store:
            for change in changes:
                await store.write({change.item_id: change.item}, {})
        request = RunRequest("all", tmp_path / "lists.parquet", ListOptions(k=45, exclude_seen=False), workers=1)
        await make_lists(settings, request, lambda done, of: None)

    asyncio.run(make())
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    shown = set(lists["item_id"].to_list())
    assert {f"new-{i}" for i in range(5)} <= shown
    assert shown.isdisjoint({"item-2", "item-3"})
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [43]
