"""What is taken in, and what a sequence of changes leaves."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from item_worlds import Replica, replica

from index.bundle import Bundle
from service.errors import InvalidRequestError, UnknownItemError
from service.items.intake import checked_types
from service.items.item import GivenItem
from service.items.patch import ItemPatch
from service.items.trained import as_type, item_of

FOLDERS = itertools.count()


def use(bundle: Bundle, folder: Path, **changes: Any) -> Any:
    def run(steps: Any) -> None:
        async def go() -> None:
            async with replica(bundle, folder, **changes) as one:
                await steps(one)

        asyncio.run(go())

    return run


names = st.sampled_from(["item-1", "item-2", "new-1", "new-2", "用户"])
numbers = st.integers(0, 3)
attributes = st.dictionaries(st.sampled_from("abc"), numbers, max_size=3)
patched = st.dictionaries(st.sampled_from("abc"), st.none() | numbers, max_size=3)
puts = st.tuples(st.just("put"), names, st.fixed_dictionaries({"title": st.text(max_size=2), "attributes": attributes}))
patches = st.tuples(
    st.just("patch"), names, st.fixed_dictionaries({}, optional={"title": st.text(max_size=2), "attributes": patched})
)
deletes = st.tuples(st.just("delete"), names, st.just({}))


@given(st.lists(puts | patches | deletes, max_size=12))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_changes_leaves_what_a_dictionary_holds(bundle: Bundle, tmp_path: Path, steps: Any) -> None:
    @use(bundle, tmp_path / str(next(FOLDERS)))
    async def _(one: Replica) -> None:
        expected: dict[str, tuple[str, dict[str, Any]] | None] = {}
        for kind, item_id, fields in steps:
            if kind == "put":
                await one.put(item_id, **fields)
                expected[item_id] = (fields["title"], fields["attributes"])
                continue
            before = expected.get(item_id, _trained(one, item_id))
            known = before is not None or (kind == "delete" and item_id in expected)
            change = one.items.delete(item_id) if kind == "delete" else _patch(one, item_id, fields)
            if not known:
                with pytest.raises(UnknownItemError):
                    await change
                continue
            await change
            if kind == "delete":
                expected[item_id] = None
            elif before is not None:
                merged = {**before[1], **fields.get("attributes", {})}
                kept = {name: value for name, value in merged.items() if value is not None}
                expected[item_id] = (fields.get("title", before[0]), kept)
        stored = await one.items.store.get(list(expected))
        assert [item and (item.title, item.attributes) for item in stored] == list(expected.values())
        newest = {change.item_id: change for change in one.told}
        assert {item_id: change.item for item_id, change in newest.items()} == dict(zip(expected, stored, strict=True))
        assert {change.position for change in newest.values()} == {
            change.position for change in await one.items.store.changes(0, 100)
        }


async def _patch(one: Replica, item_id: str, fields: dict[str, Any]) -> Any:
    return await one.items.patch(item_id, ItemPatch.model_validate(fields))


def _trained(one: Replica, item_id: str) -> tuple[str, dict[str, Any]] | None:
    item = one.items.trained.item(item_id, {})
    return item and (item.title, item.attributes)  # type: ignore[return-value]  # None is falsy


def test_two_patches_of_one_item_at_once_are_both_applied_on_two_replicas_too(bundle: Bundle, tmp_path: Path) -> None:
    async def run() -> None:
        async with replica(bundle, tmp_path) as one, replica(bundle, tmp_path) as other:
            await one.put("a")
            patches = [_patch(where, "a", {"attributes": {f"n{i}": i}}) for i in range(8) for where in (one, other)]
            await asyncio.gather(*patches)
            (item,) = await one.items.store.get(["a"])
            assert item is not None
            assert item.attributes == {f"n{i}": i for i in range(8)}

    asyncio.run(run())


def test_what_is_given_and_what_is_not_decides_the_times(bundle: Bundle, tmp_path: Path) -> None:
    @use(bundle, tmp_path)
    async def _(one: Replica) -> None:
        await one.put("a")
        await one.put("b", created_at=3.0)
        await _patch(one, "item-1", {"title": "x"})
        await one.put("b", title="again")
        a, b, trained = await one.items.store.get(["a", "b", "item-1"])
        assert a is not None
        assert b is not None
        assert trained is not None
        assert (a.created_at, a.updated_at, b.created_at) == (5.0, 5.0, 3.0)
        assert trained.created_at == bundle.manifest.created_at.timestamp()


def test_a_patch_that_breaks_a_limit_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    @use(bundle, tmp_path)
    async def _(one: Replica) -> None:
        await one.put("a", attributes={f"n{i}": i for i in range(60)})
        with pytest.raises(InvalidRequestError, match=r"attributes: .*at most 64"):
            await _patch(one, "a", {"attributes": {f"m{i}": i for i in range(5)}})


def test_the_first_values_decide_the_type_and_times_among_texts_are_texts() -> None:
    values = [{"a": "2026-01-01", "n": 1, "gone": None}, {"a": "soon", "l": ("x",)}, {"t": "2026-01-01T10:00Z"}]
    types = checked_types(values, {"n": "number"})
    assert types == {"a": "string", "n": "number", "l": "list", "t": "time"}
    with pytest.raises(InvalidRequestError, match=r"item 1: attributes.a: found number, expected boolean"):
        checked_types([{"a": True}, {"a": 1}], {})


@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        ("12.5", "number", 12.5),
        ("dear", "number", None),
        ("nan", "number", None),
        ("True", "boolean", True),
        ("red|blue", "list", ("red", "blue")),
        ("2026-01-01", "time", "2026-01-01"),
        ("soon", "time", None),
        (3, "string", None),
        (["a", 1, "b"], "list", ("a", "b")),
        ({"nested": 1}, None, None),
        ("as it is", None, "as it is"),
    ],
)
def test_attributes_of_a_bundle_get_their_declared_type(value: Any, kind: Any, read: Any) -> None:
    assert as_type(value, kind) == read


def test_a_bundles_record_becomes_the_item_that_would_have_made_it() -> None:
    record = {"title": "T", "category": "a", "attributes": {"categories": ["a", "b"], "n": 1}, "image": None}
    item = item_of(record, "x", {}, created_at=7.0)
    assert (item.categories, item.attributes, item.created_at) == (("a", "b"), {"n": 1}, 7.0)
    assert GivenItem.model_validate(item.model_dump(exclude={"item_id", "updated_at"}))
