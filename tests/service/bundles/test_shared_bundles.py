"""Two loaded bundles of one catalogue hold once what depends on it alone, and each answers as if it were alone."""

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from bundles import make_content, write_retrained_bundle, write_small_bundle
from servers import wait_until

from index.registry import Registry
from service.bundles.loaded import LoadedBundle, load_bundle
from service.bundles.open_published import open_verified
from service.settings import Settings
from service.telemetry.metrics import Metrics


class Pair:
    """Two bundles of one catalogue in a registry, of which either can be loaded."""

    def __init__(self, folder: Path) -> None:
        self.registry, self.metrics = Registry(folder), Metrics()
        self.ids = sorted(self.registry.ids())
        self._settings = Settings(registry=folder, data=folder.parent / "data", gpu="off")

    def load(self, bundle_id: str, shared_with: Sequence[LoadedBundle] = ()) -> LoadedBundle:
        bundles = [one.bundle for one in shared_with]
        opened = open_verified(self.registry, bundle_id, self._settings, verify=True, shared_with=bundles)
        users: Any = None
        return load_bundle(opened.bundle, users, self._settings, self.metrics, shared_with=shared_with)

    def loaded(self) -> tuple[LoadedBundle, LoadedBundle]:
        first = self.load(self.ids[0])
        return first, self.load(self.ids[1], [first])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry: Path = tmp_path_factory.mktemp("registry")
    write_small_bundle(registry)
    write_retrained_bundle(registry, after_seconds=1)
    return registry


@pytest.fixture
def pair(written: Path, tmp_path: Path) -> Pair:
    shutil.copytree(written, tmp_path / "registry")
    return Pair(tmp_path / "registry")


def test_an_opened_bundle_has_the_arrays_of_the_one_that_it_shares_with(pair: Pair) -> None:
    first, second = pair.loaded()
    assert second.bundle.user_ids.hashes is first.bundle.user_ids.hashes
    assert 0 < second.bundle.shared_bytes < second.bundle.file_bytes


def test_spaces_columns_and_rendered_items_are_built_once_and_learned_ones_for_each(pair: Pair) -> None:
    async def run() -> None:
        first, second = pair.loaded()
        assert second.items.shown(3) is first.items.shown(3)
        assert (await second.facet_store.facets()).columns is (await first.facet_store.facets()).columns
        for by, is_one in (("text", True), ("image", True), ("fused", False), ("id", False)):
            spaces = [(await one.similar_items.space(by)).search for one in (first, second)]
            assert (spaces[0]._index.vectors is spaces[1]._index.vectors) == is_one, by  # type: ignore[attr-defined]

    asyncio.run(run())


def test_what_is_hidden_in_one_bundle_is_shown_by_the_other(pair: Pair) -> None:
    async def run() -> None:
        first, second = pair.loaded()
        nearest = await second.similar_items.nearest(0, 5, "text")
        assert nearest is not None
        first.hide(nearest[0][:2])
        after = [await one.similar_items.nearest(0, 5, "text") for one in (first, second)]
        assert after[0] is not None
        assert not np.isin(nearest[0][:2], after[0][0]).any()
        assert after[1] is not None
        np.testing.assert_array_equal(after[1][0], nearest[0])

    asyncio.run(run())


def test_bundles_with_new_items_of_their_own_cache_selections_apart(pair: Pair) -> None:
    """A selection names rows, and a new item may have another row in each bundle."""

    async def run() -> None:
        first, second = pair.loaded()
        assert (await first.facet_store.facets()).cache is not (await second.facet_store.facets()).cache

    asyncio.run(run())


def test_a_bundle_of_other_items_shows_its_own(pair: Pair, tmp_path: Path) -> None:
    titles = [{**record, "title": f"new {record['title']}"} for record in make_content().items]
    other = write_small_bundle(tmp_path / "registry", after_seconds=2, items=titles).name

    async def run() -> None:
        first = pair.load(pair.ids[0])
        second = pair.load(other, [first])
        assert second.items.shown(0).name == "new oak chair no. 0"
        assert first.items.shown(0).name == "oak chair no. 0"
        facets = [await one.facet_store.facets() for one in (first, second)]
        assert facets[0].titles is not facets[1].titles

    asyncio.run(run())


async def _nothing(loaded: LoadedBundle) -> None:
    pass


async def _build(loaded: LoadedBundle) -> None:
    await loaded.similar_items.build()
    await loaded.facet_store.facets()
    loaded.items.shown(2)


@pytest.mark.parametrize("before", [_nothing, _build])
def test_the_second_answers_as_if_alone_after_the_first_is_closed_and_pruned(
    pair: Pair, before: Callable[[LoadedBundle], Coroutine[Any, Any, None]]
) -> None:
    async def answers(loaded: LoadedBundle) -> list[Any]:
        await _build(loaded)
        nearest = await loaded.similar_items.nearest(2, 5, "text")
        assert nearest is not None
        facets = await loaded.facet_store.facets()
        listed = orjson.dumps(loaded.items.ranked(nearest[0].tolist(), nearest[1]))
        user = loaded.bundle.user_ids.row("user-4")
        assert user is not None
        return [listed, facets.rows_with("material", ["oak"]).tolist(), loaded.bundle.seen(user).tolist()]

    async def run() -> None:
        expected = await answers(pair.load(pair.ids[1]))
        wait_until(lambda: pair.metrics.bundles_open._value.get() == 0)
        first, second = pair.loaded()
        await before(first)
        gone = [weakref.ref(part) for part in (first, first.bundle, first.items, first.similar_items)]
        gc.disable()
        try:
            del first
            wait_until(lambda: not any(ref() for ref in gone))
        finally:
            gc.enable()
        assert pair.metrics.bundles_open._value.get() == 1
        pair.registry.publish(pair.ids[1])
        assert pair.registry.prune(0) == [pair.ids[0]]
        assert await answers(second) == expected

    asyncio.run(run())
