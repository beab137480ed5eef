"""The lists of a run are those that the service answers: same items, order, scores and sources."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import asking
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asking import ids
from bundles import make_features, make_living_content
from disks import full_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import publish, serving, wait_until

from index.errors import InputError
from index.item_index import ItemIndex
from service.batch.allowed_search import AllowedSearch
from service.batch.lists import ListOptions
from service.batch.run import Made, RunRequest, make_lists
from service.ranking.constraints import Filters
from service.ranking.filters.parsing import parse_filter
from service.settings import Settings

USERS = [f"user-{row}" for row in range(30)]
OTHERS = ["ann", "nobody", "用户"]
DEAD_REDIS = "redis://127.0.0.1:1"
Listed = list[tuple[str, int, str, float]]  # source, rank, item, score
law = settings(max_examples=10, deadline=None)
few = settings(max_examples=6, deadline=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(registry: Path, data: Path) -> Iterator[httpx.Client]:
    """A service with hidden items, a forgotten user, and events of known users, a new one, and none of its items."""
    events = [
        *[{"user_id": "ann", "item_id": f"item-{row}", "kind": kind} for row, kind in ((3, "click"), (9, "purchase"))],
        *[{"user_id": "user-4", "item_id": f"item-{row}", "kind": "click"} for row in (5, 6, 7)],
        {"user_id": "user-5", "item_id": "item-16", "kind": "dislike"},
        {"user_id": "nobody", "item_id": "gone", "kind": "click"},
    ]
    with serving(registry=registry, data=data) as client:
        assert client.post("/events", json={"events": events}).status_code == 202
        for row in (1, 16):
            client.put(f"/items/item-{row}/hidden")
        assert client.delete("/users/user-8").status_code == 200
        yield client


def run(users: str | Path, out: Path, *, workers: int = 1, options: ListOptions, **variables: Any) -> Made:
    request = RunRequest(str(users), out, options, workers)
    return asyncio.run(make_lists(Settings(**variables), request, lambda done, total: None, now=time.time()))


def users_file(folder: Path, ids: Sequence[str] = (*USERS, *OTHERS)) -> Path:
    pq.write_table(pa.table({"user_id": ids, "more": list(range(len(ids)))}), folder / "users.parquet")
    return folder / "users.parquet"


def lists_of(path: Path) -> dict[str, Listed]:
    found: dict[str, Listed] = {}
    for row in pq.read_table(path).to_pylist():
        found.setdefault(row["user_id"], []).append((row["source"], row["rank"], row["item_id"], row["score"]))
    return found


def answered(answer: dict[str, Any]) -> Listed:
    source = answer["source"]
    return [(source, one["rank"], one["item_id"], float(np.float32(one["score"]))) for one in answer["items"]]


@pytest.mark.parametrize(
    ("options", "query"),
    [
        (ListOptions(20), {"k": 20}),
        (ListOptions(50, exclude_seen=False), {"k": 50, "exclude_seen": False}),
        (ListOptions(3, filters=Filters(("lamp", "rug"))), {"k": 3, "category": ["lamp", "rug"]}),
        (
            ListOptions(5, filters=Filters((), (("material", "oak"),), ("item-3", "gone"))),
            {"k": 5, "require": "material:oak", "exclude": ["item-3", "gone"]},
        ),
        (
            ListOptions(5, filters=Filters(chosen=parse_filter("material in [oak, brass] and category != lamp"))),
            {"k": 5, "filter": "material in [oak, brass] and category != lamp"},
        ),
    ],
)
def test_each_list_is_the_response_of_recommend(  # noqa: PLR0917
    client: httpx.Client, registry: Path, data: Path, tmp_path: Path, options: ListOptions, query: dict[str, Any]
) -> None:
    made = run(users_file(tmp_path), tmp_path / "lists.parquet", options=options, registry=registry, data=data)
    found = lists_of(tmp_path / "lists.parquet")
    for user in (*USERS, *OTHERS):
        assert found[user] == answered(client.get(f"/recommend/{user}", params=query).json()), user
    assert {one[0][0] for one in found.values()} == {"user", "fold_in", "popular"}
    assert found["user-8"][0][0] == "popular"  # forgotten
    assert list(found) == [*USERS, *OTHERS]
    assert (made.users, made.rows) == (33, sum(map(len, found.values())))


@few
@given(rules=asking.rules, exclude_seen=st.booleans(), category=st.sampled_from([(), ("lamp",), ("rug", "chair")]))
def test_the_rules_file_is_honoured_as_by_the_service(
    registry: Path, tmp_path_factory: pytest.TempPathFactory, rules: Any, exclude_seen: bool, category: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "rules.json").write_text(json.dumps(rules))
    served = {"registry": registry, "data": folder / "data", "rules_file": folder / "rules.json"}
    with serving(**served) as client:
        query = {"k": 40, "exclude_seen": exclude_seen, "category": list(category)}
        wanted = {user: answered(client.get(f"/recommend/{user}", params=query).json()) for user in (*USERS, *OTHERS)}
    options = ListOptions(40, exclude_seen, Filters(category))
    if any(wanted.values()):
        run(users_file(folder), folder / "lists.parquet", options=options, **served)
        assert lists_of(folder / "lists.parquet") == {user: one for user, one in wanted.items() if one}
    else:
        with pytest.raises(InputError, match="no item may be shown"):
            run(users_file(folder), folder / "lists.parquet", options=options, **served)


def test_stored_items_are_in_the_lists_as_in_those_of_the_service(tmp_path: Path) -> None:
    registry, data = tmp_path / "registry", tmp_path / "data"
    publish(registry, make_living_content())
    with serving(registry=registry, data=data) as client:
        for row, features in enumerate(make_features(6)):
            body = {
                "title": f"New {row}",
                "categories": ["lamp"],
                "features": features,
            }
            assert client.put(f"/items/new-{row}", json=body | {"available": row != 2}).status_code == 202
        client.delete("/items/item-7")
        listed = lambda: ids(client.get("/recommend/user-3?k=100").json())  # noqa: E731
        wait_until(lambda: "new-5" in (found := listed()) and "item-7" not in found)
        wanted = {user: answered(client.get(f"/recommend/{user}?k=100").json()) for user in (*USERS, *OTHERS)}
    run(users_file(tmp_path), tmp_path / "lists.parquet", options=ListOptions(100), registry=registry, data=data)
    found = lists_of(tmp_path / "lists.parquet")
    for user, expected in wanted.items():  # vectors of new items depend on what is embedded with them, in the last bit
        assert [one[:3] for one in found[user]] == [one[:3] for one in expected]
        assert [one[3] for one in found[user]] == pytest.approx([one[3] for one in expected], abs=1e-5)
    shown = {item for one in wanted.values() for _, _, item, _ in one}
    assert shown > {f"new-{row}" for row in (0, 1, 3, 4, 5)}
    assert not shown & {"new-2", "item-7"}


def test_a_forgotten_person_is_an_unknown_user_and_of_parts_from_before_none_is_used(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batch.run.PART_USERS", 7)
    out, data = tmp_path / "lists.parquet", tmp_path / "data"
    with full_disk(3_000), pytest.raises(InputError, match="cannot be written"):
        run(users_file(tmp_path), out, options=ListOptions(2), registry=registry, data=data)
    assert len(list((tmp_path / "lists.parquet.parts").glob("part-*"))) > 1
    with serving(registry=registry, data=data) as client:
        assert client.delete("/users/user-3").status_code == 200
    made = run(users_file(tmp_path), out, options=ListOptions(2), registry=registry, data=data)
    assert made.kept_parts == 0
    assert lists_of(out)["user-3"][0][0] == "popular"
    run("all", out, options=ListOptions(2), registry=registry, data=data)
    assert "user-3" not in lists_of(out)


def test_all_trained_users_are_listed_and_processes_beside_each_other_write_the_same(
    client: httpx.Client, registry: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.batch.run.PART_USERS", 7)
    for workers in (1, 2):
        out = tmp_path / f"{workers}.parquet"
        run("all", out, workers=workers, options=ListOptions(9), registry=registry, data=data)
    assert lists_of(tmp_path / "1.parquet") == lists_of(tmp_path / "2.parquet")
    assert list(lists_of(tmp_path / "2.parquet")) == [user for user in USERS if user != "user-8"]  # forgotten
    assert pq.ParquetFile(tmp_path / "2.parquet").num_row_groups == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.parquet", "2.parquet"]


def test_the_file_says_what_it_was_made_from(registry: Path, data: Path, tmp_path: Path) -> None:
    made = run("all", tmp_path / "lists.parquet", options=ListOptions(2), registry=registry, data=data)
    about = json.loads(pq.read_schema(tmp_path / "lists.parquet").metadata[b"anchorrec"])
    assert (about["bundle"], about["k"], about["exclude_seen"]) == (made.bundle, 2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ListOptions(0), "k is 0; expected 1 to 1000"),
        (ListOptions(5, filters=Filters((), (("weight", "3"),))), "no item can be chosen by 'weight'"),
        (ListOptions(5, filters=Filters(("sofa",))), "no item may be shown"),
        (ListOptions(5, filters=Filters(chosen=parse_filter("materiel = oak"))), "no item may be shown.*materiel"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    registry: Path, data: Path, tmp_path: Path, options: ListOptions, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run("all", tmp_path / "lists.parquet", options=options, registry=registry, data=data)
    assert not list(tmp_path.iterdir())


def test_where_hidden_items_are_unknown_nothing_is_made(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hidden items .*are unknown"):
        run("all", tmp_path / "a", options=ListOptions(5), registry=registry, data=tmp_path, redis_url=DEAD_REDIS)
    assert not (tmp_path / "a").exists()


@law
@given(st.data())
def test_searching_the_allowed_items_alone_finds_what_a_search_within_them_does(drawn: st.DataObject) -> None:
    rng = np.random.default_rng(drawn.draw(st.integers(0, 9)))
    n = drawn.draw(st.integers(1, 300))
    vectors = rng.integers(-2, 3, (n, 3)).astype(np.float32)  # many equal scores
    allowed = np.flatnonzero(rng.random(n) < 0.7)
    if not len(allowed):
        return
    queries = list(rng.integers(-2, 3, (4, 3)).astype(np.float32))
    exclude = [rng.choice(n, rng.integers(0, n), replace=False) for _ in queries]
    k = drawn.draw(st.integers(1, 20))
    found = asyncio.run(AllowedSearch(vectors, allowed).many(queries, k, exclude))
    rows, scores = ItemIndex.flat(vectors).search(np.stack(queries), k, exclude, allowed)
    for (found_rows, found_scores), its_rows, its_scores in zip(found, rows, scores, strict=True):
        assert found_rows.tolist() == its_rows[its_rows >= 0].tolist()
        assert found_scores.tolist() == its_scores[its_rows >= 0].tolist()
