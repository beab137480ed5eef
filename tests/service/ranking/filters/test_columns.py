import asyncio
import gc
import weakref
from typing import Any

import numpy as np
import pytest
from catalogues import NOW, Record, ids_of, pack
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import Bundle
from index.recommending.steps import done
from service.errors import InvalidRequestError
from service.ranking.facets import Facets, FacetStore, build_facets
from service.ranking.filters import building, selection_cache, text_columns, titles
from service.ranking.filters.evaluation import Selection
from service.ranking.filters.parsing import parse_filter
from service.ranking.filters.titles import TitleColumn


def item(title: str = "", category: str = "", **attributes: Any) -> Record:
    return {"title": title, "category": category, "attributes": attributes, "image": None}


def facets(*items: Record) -> Facets:
    return build_facets(pack(list(items)))


def select(found: Facets, text: str, now: float = NOW) -> Selection:
    return done(found.select(parse_filter(text), ids_of(max(found.n_rows, 1)), now))


def rows(found: Facets, text: str, now: float = NOW) -> list[int]:
    return select(found, text, now).rows.tolist()  # type: ignore[no-any-return]


def types(found: Facets) -> dict[str, str]:
    return {name: column.type for name, column in found.columns.items() if name != "category"}


def test_types_are_inferred_from_all_values_of_an_attribute() -> None:
    found = facets(
        item(price=3, new=True, at="2026-01-01", tags=["a"], mixed=1, either="a", day="2026-01-01", nothing=None),
        item(price=2.5, new=False, at="2026-01-02T10:00:00Z", tags=[], mixed="1.5", either=["b"], day="Monday"),
        item(price=None, mixed=True, nothing={"nested": 1}),
    )
    assert types(found) == {
        "price": "number",
        "new": "boolean",
        "at": "time",
        "tags": "list",
        "mixed": "string",
        "either": "list",
        "day": "string",
    }
    assert rows(found, "mixed in ['1', '1.5', 'true']") == [0, 1, 2]
    assert (rows(found, "either contains a"), rows(found, "exists(tags)")) == ([0], [0])
    assert found.rows_with("nothing", ["1"]).tolist() == []
    assert rows(found, "day = 2026-01-01") == [0]


def test_declared_types_win_and_values_of_other_types_are_no_values() -> None:
    found = build_facets(
        pack([item(price="3", new="yes", at="soon", tags="a"), item(price=3, new=True, at="2026-01-01", tags=["b"])]),
        {"price": "number", "new": "boolean", "at": "time", "tags": "list"},
    )
    assert [rows(found, f"exists({name})") for name in ("price", "new", "at", "tags")] == [[1], [1], [1], [0, 1]]


def test_more_texts_than_are_held_can_be_tested_by_exists_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (building, text_columns):
        monkeypatch.setattr(module, "MOST_VALUES", 3)
    found = facets(*(item(sku=f"s{i}", tags=[f"t{i}"], at=f"2026-01-0{i + 1}") for i in range(4)), item())
    assert rows(found, "exists(sku) and exists(tags)") == [0, 1, 2, 3]
    assert rows(found, "at > 2026-01-02") == [2, 3]
    for text in ("sku = s1", "tags contains t1"):
        with pytest.raises(InvalidRequestError, match="different values; expected exists alone"):
            select(found, text)


def test_texts_that_no_item_has_any_more_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (building, text_columns):
        monkeypatch.setattr(module, "MOST_VALUES", 3)
    found = facets(*(item(colour=f"c{i}", tags=[f"c{i}"]) for i in range(3)))
    for i in range(10):
        found = found.with_items(3, {i % 3: item(colour=f"new{i}", tags=[f"new{i}"])})
        assert rows(found, f"colour = new{i} and tags contains new{i}") == [i % 3]
    found = found.with_items(4, {3: item(colour="one more", tags=["one more"])})
    assert rows(found, "exists(colour) and exists(tags)") == [0, 1, 2, 3]
    with pytest.raises(InvalidRequestError, match="different values"):
        select(found, "colour = c1")


def test_a_change_of_prices_copies_the_prices_alone() -> None:
    found = facets(*(item(f"no. {i}", "lamp", price=i, stock=i, new=True, colour="red", tags=["a"]) for i in range(5)))
    changed = found.with_items(5, {1: item("no. 1", "lamp", price=9, stock=1, new=True, colour="red", tags=["a"])})
    shared = {name for name in found.columns if found.columns[name] is changed.columns[name]}
    assert shared == {"category", "stock", "new", "colour", "tags"}
    assert changed.titles is found.titles
    assert (rows(found, "price = 9"), rows(changed, "price = 9")) == ([], [1])


def test_selections_are_cached_until_one_of_their_columns_changes() -> None:
    first = facets(item(price=1, colour="red"), item(price=2, colour="blue"))
    cheap, red = select(first, "price < 2"), select(first, "colour = red")
    assert select(first, "( price<2.0 )") is cheap
    second = first.with_items(2, {1: item(price=0.5, colour="blue")})
    assert select(second, "colour = red") is red
    assert select(second, "price < 2").rows.tolist() == [0, 1]
    assert select(first, "price < 2").rows.tolist() == [0]
    third = second.with_items(3, {2: item(colour="red")})
    assert rows(third, "colour = red") == [0, 2]
    assert rows(third, "not colour = blue") == [0, 2]


def test_the_cache_keeps_no_column_alive_that_was_replaced() -> None:
    found = facets(item(price=1), item(price=2))
    replaced = weakref.ref(found.columns["price"])
    assert rows(found, "price < 2 and weight = 1 or price = 2") == [1]
    found = found.with_items(2, {0: item(price=3)})
    gc.collect()
    assert replaced() is None
    assert rows(found, "price < 2 and weight = 1 or price = 2") == [1]


def test_the_cache_is_bounded_and_now_counts_by_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    found = facets(*(item(at="2026-02-02T02:40:00Z") for _ in range(10)))
    start = NOW // 60 * 60
    assert select(found, "at < now", start) is select(found, "at < now", start + 59)
    assert select(found, "at < now", start) is not select(found, "at < now", start + 60)
    assert select(found, "at < 2030-01-01", start) is select(found, "at < 2030-01-01", start + 60)
    cache = selection_cache.SelectionCache(max_bytes=3 * (selection_cache.OVERHEAD_BYTES + 80))
    for i in range(10):
        cache.put(selection_cache.Key(f"a = {i}", 0, 10), (), Selection(np.arange(10), ()))
    assert len(cache._entries) == 3


def test_items_are_available_unless_they_say_otherwise() -> None:
    found = facets(item(), item(available=False), {**item(available=False), "available": True})
    assert rows(found, "available = true") == [0, 2]
    changed = found.with_items(5, {0: None, 4: {**item(), "created_at": 90.0}})
    assert rows(changed, "available = true") == [2, 3, 4]
    assert rows(changed, "created_at < 1970-01-02") == [4]
    texts = facets(item(available="soon"), item(available="yes"))  # an attribute that only shares the name
    assert rows(texts, "available = soon") == [0]


titles_given = st.lists(st.text("abé\0 ", max_size=4), max_size=12)


@given(
    titles_given,
    st.text("abé", min_size=1, max_size=3),
    st.dictionaries(st.integers(0, 14), st.text("abÉ", max_size=3)),
)
def test_titles_are_found_where_the_block_is_cut_and_where_they_changed(
    given: list[str], part: str, changes: dict[int, str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(titles, "SCANNED", 3)
        patch.setattr(titles, "MOST_CHANGED", 2)
        column, held = TitleColumn.pack(given).replaced(changes), dict(enumerate(given)) | changes
        found = done(column.containing(part))
        folded = {row: held[row].casefold() for row in sorted(held)}
        assert np.flatnonzero(found).tolist() == [row for row, one in folded.items() if part in one]
        assert np.flatnonzero(column.equal(part)).tolist() == [row for row, one in folded.items() if one == part]
        assert np.flatnonzero(column.exists()).tolist() == [row for row, one in folded.items() if one]


def test_changes_that_come_before_the_columns_are_built_are_in_them(bundle: Bundle) -> None:
    async def run() -> None:
        first = FacetStore(bundle)
        second = first.with_items(41, {0: item(material="glass"), 40: item(material="glass", price=1)})
        third = second.with_items(42, {40: item(material="oak"), 41: item(material="glass")})
        assert (await third.facets()).rows_with("material", ["glass"]).tolist() == [0, 41]
        assert (await second.facets()).rows_with("material", ["glass"]).tolist() == [0, 40]
        assert (await first.facets()).rows_with("material", ["glass"]).tolist() == []
        fourth = third.with_items(42, {0: None})
        assert (await fourth.facets()).rows_with("material", ["glass"]).tolist() == [41]
        assert rows(await fourth.facets(), "available = false") == [0]

    asyncio.run(run())
