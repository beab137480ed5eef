import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import Bundle
from index.ids import PackedStrings
from service.errors import InvalidRequestError
from service.ranking import facets as catalogue
from service.ranking.facets import CATEGORY, CHUNK, Facets, FacetStore, build_facets, intersect
from service.ranking.filters import building, text_columns
from service.ranking.filters.text_columns import TextColumn
from service.ranking.similar import SimilarItems


def facets(attributes: list[dict[str, Any]], categories: list[str] | None = None) -> Facets:
    """The facets of items that have these attributes."""
    names = categories or ["thing"] * len(attributes)
    records = [
        {"title": "", "category": name, "attributes": of_one, "image": None}
        for name, of_one in zip(names, attributes, strict=True)
    ]
    return build_facets(PackedStrings.pack([orjson.dumps(record) for record in records]))


def test_an_item_is_found_by_every_value_that_it_has() -> None:
    three = facets(
        [
            {"colour": "red", "size": 3, "new": True},
            {"colour": ["red", "blue", "red"], "size": 3.5, "new": False},
            {"colour": "blue", "size": "3", "new": None, "maker": {"name": "x"}},
        ],
        ["lamp", "", "lamp"],
    )

    def found(name: str, *values: str) -> list[int]:
        rows: list[int] = three.rows_with(name, values).tolist()
        return rows

    assert (found("colour", "red"), found("colour", "blue")) == ([0, 1], [1, 2])
    assert found("colour", "red", "blue", "green") == [0, 1, 2]
    assert (found("size", "3"), found("size", "3.5"), found("new", "true")) == ([0, 2], [1], [0])
    assert (found("maker", "x"), found("colour", "green"), found("colour")) == ([], [], [])
    assert (found(CATEGORY, "lamp"), found(CATEGORY, "")) == ([0, 2], [])
    assert three.categories.tolist() == [0, -1, 0]
    assert three.rows_of_categories([0]).tolist() == [0, 2]
    assert three.rows_of_categories([-1]).tolist() == []


def test_a_value_that_is_repeated_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    two = facets([{"material": "oak"}, {"material": "wool"}])
    with_text = TextColumn.with_text
    monkeypatch.setattr(
        TextColumn, "with_text", lambda column, texts: (read.extend(texts), with_text(column, texts))[1]
    )
    assert two.rows_with("material", ["wool", "oak"] * 250).tolist() == [0, 1]
    assert read == ["wool", "oak"]


def test_an_attribute_called_category_does_not_stand_in_for_the_category() -> None:
    two = facets([{"category": "rug"}, {}], ["lamp", "rug"])
    assert two.rows_with(CATEGORY, ["rug"]).tolist() == [1]


def test_free_text_is_not_held_and_further_attributes_are_by_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (building, text_columns):
        monkeypatch.setattr(module, "MOST_VALUES", 3)
    monkeypatch.setattr(building, "MOST_TEXT_COLUMNS", 3)
    attributes = [
        {"sku": f"s{i}", "text": "x" * (255 + i), "colour": "red", "late": "a", "price": i, "at": f"2026-01-0{i + 1}"}
        for i in range(5)
    ]
    found = facets(attributes)
    assert found.unheld == {"late"}
    assert len(found.rows_with("text", ["x" * 255, "x" * 256, "x" * 257])) == 2
    assert found.rows_with("price", ["3"]).tolist() == [3]
    assert found.rows_with("at", ["2026-01-05"]).tolist() == [4]
    for name in ("sku", "late"):
        with pytest.raises(InvalidRequestError, match=f"by '{name}'; known are at, category, colour, price, text"):
            found.rows_with(name, ["s1"])


@given(st.lists(st.sets(st.integers(0, 12)), max_size=4))
def test_what_is_common_is_what_sets_have_in_common(groups: list[set[int]]) -> None:
    found = intersect([np.array(sorted(group), np.int64) for group in groups])
    assert (found is None) if not groups else set(found.tolist()) == set.intersection(*groups)  # type: ignore[union-attr]


def test_whoever_comes_while_the_facets_are_made_gets_the_same_ones(bundle: Bundle) -> None:
    async def ask() -> None:
        found = FacetStore(bundle)
        leaver = asyncio.create_task(found.facets())
        await asyncio.sleep(0)
        leaver.cancel()  # does not take them from the others
        same = await asyncio.gather(*(found.facets() for _ in range(5)))
        assert all(one is same[0] for one in same)

    asyncio.run(ask())


def test_a_hundred_thousand_items_are_parsed_a_chunk_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    record = b'{"title":"Lamp","category":"c%d","attributes":{"colour":"c%d","material":"m%d"},"image":null}'
    items = PackedStrings.pack([record % (i % 300, i % 12, i % 40) for i in range(100_000)])
    parsed: list[int] = []

    def loads(text: bytes) -> Any:
        records = orjson.loads(text)
        parsed.append(len(records))
        return records

    monkeypatch.setattr("service.ranking.facets.orjson", SimpleNamespace(loads=loads, dumps=orjson.dumps))
    found = build_facets(items)
    assert len(found.rows_with("colour", ["c3"])) == 8_334
    assert (sum(parsed), len(parsed)) == (100_000, -(-100_000 // CHUNK))


def test_a_build_that_failed_once_is_done_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    async def run() -> None:
        store, similar = FacetStore(bundle), SimilarItems(bundle)
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, "build_facets", fail)
            patch.setattr("service.ranking.similar._unit_space", fail)
            for build in (store.facets, similar.build):
                with pytest.raises(MemoryError):
                    await build()
        assert await store.facets()
        await similar.build()

    asyncio.run(run())
