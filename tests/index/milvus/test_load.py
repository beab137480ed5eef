"""A bundle's collection in Milvus is whole before anything searches it, whatever was killed, and has its own name."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import write_small_bundle
from milvus_servers import MilvusServer, connected
from typer.testing import CliRunner

from index.__main__ import app
from index.bundle import Bundle, open_bundle
from index.errors import InputError
from index.item_index import ItemIndex
from index.live.live_index import DeltaLimits, LiveIndex
from index.milvus.engine import Milvus, MilvusError, milvus_index, require_collection
from index.milvus.load import alias_target, drop_others, load_bundle, our_collections, point_alias
from index.milvus.names import FLAT, CollectionKind, collection_of
from index.ranking import exact_search
from index.registry import Registry


class KilledError(Exception):
    """Ends a load where a kill would."""


@pytest.fixture
def connection(milvus: MilvusServer) -> Iterator[Milvus]:
    """To a server without collections."""
    with connected(milvus) as one:
        drop_others(one, ())
        yield one


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_small_bundle(tmp_path / "registry"))


def next_of(bundle: Bundle, seconds: int = 1) -> Bundle:
    return open_bundle(write_small_bundle(bundle.path.parent, after_seconds=seconds, seed=seconds))


def load(milvus: Milvus, bundle: Bundle, *, killed_at: int | None = None, floor: float = 0.99) -> list[int]:
    """Load, up to a kill; returns how many rows were there from time to time."""
    shown: list[int] = []

    def show(n_rows: int) -> None:
        shown.append(n_rows)
        if n_rows == killed_at:
            raise KilledError

    try:
        load_bundle(milvus, bundle, FLAT, floor=floor, progress=show)
    except KilledError:
        assert killed_at is not None
    return shown


def assert_found(milvus: Milvus, bundle: Bundle) -> None:
    queries = bundle.user_embeddings[:5]
    rows, _ = milvus_index(milvus, bundle).search(queries, 7)
    assert rows.tolist() == exact_search(bundle.item_embeddings, queries, 7)[0].tolist()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows an insert."""
    monkeypatch.setattr("index.milvus.load._BYTES_AT_ONCE", 10 * 4 * 8)


@pytest.mark.usefixtures("small_parts")
def test_a_killed_load_goes_on_where_it_ended(connection: Milvus, bundle: Bundle) -> None:
    assert load(connection, bundle, killed_at=20) == [0, 10, 20]
    with pytest.raises(InputError, match="no whole collection"):
        require_collection(connection, bundle.bundle_id)
    with pytest.raises(MilvusError, match="no whole collection"):
        milvus_index(connection, bundle).search(bundle.user_embeddings[0], 5)
    assert load(connection, bundle) == [20, 30, 40]
    assert_found(connection, bundle)
    assert load(connection, bundle) == [40]


@pytest.mark.usefixtures("small_parts")
def test_rows_of_an_insert_that_arrived_by_half_are_there_once(connection: Milvus, bundle: Bundle) -> None:
    load(connection, bundle, killed_at=20)
    half = [{"row": row, "vector": bundle.item_embeddings[row]} for row in range(20, 24)]
    connection.call("insert", collection_of(bundle.bundle_id), half)
    assert load(connection, bundle) == [20, 30, 40]
    assert_found(connection, bundle)


def test_rows_that_are_there_twice_are_told(connection: Milvus, bundle: Bundle) -> None:
    load(connection, bundle)
    connection.call("insert", collection_of(bundle.bundle_id), [{"row": 99, "vector": bundle.item_embeddings[0]}])
    with pytest.raises(InputError, match="has 41 rows; expected 40"):
        load(connection, bundle)


def test_a_collection_whose_recall_is_too_low_serves_nothing(connection: Milvus, bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"has recall@20 1.0000 against exact search; expected at least 1.5"):
        load(connection, bundle, floor=1.5)
    with pytest.raises(InputError, match="no whole collection"):
        point_alias(connection, bundle.bundle_id)


def test_a_collection_must_keep_what_its_bundle_promises(connection: Milvus, bundle: Bundle) -> None:
    promise = bundle.manifest.index.model_copy(update={"promised": 1.5})
    promising = replace(bundle, manifest=bundle.manifest.model_copy(update={"index": promise}))
    with pytest.raises(InputError, match=r"expected at least 1\.5"):
        load(connection, promising, floor=0)


def test_each_bundle_is_searched_in_its_own_collection(connection: Milvus, bundle: Bundle) -> None:
    other = next_of(bundle)
    load(connection, bundle)
    load(connection, other)
    point_alias(connection, other.bundle_id)
    for one in (bundle, other):
        assert_found(connection, one)


def test_the_alias_moves_and_neither_it_nor_what_is_kept_is_dropped(connection: Milvus, bundle: Bundle) -> None:
    bundles = [bundle, next_of(bundle), next_of(bundle, 2)]
    for one in bundles:
        load(connection, one)
        point_alias(connection, one.bundle_id)
        assert alias_target(connection) == collection_of(one.bundle_id)
    first, second, last = (collection_of(one.bundle_id) for one in bundles)
    assert drop_others(connection, [bundles[1].bundle_id]) == [first]
    assert our_collections(connection) == [second, last]


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    assert result.exit_code == status, result.output
    return result.stdout


@pytest.mark.usefixtures("connection")
def test_the_commands_load_follow_the_pointer_and_prune(
    milvus: MilvusServer, connection: Milvus, bundle: Bundle
) -> None:
    registry, others = bundle.path.parent, [next_of(bundle), next_of(bundle, 2)]
    here = ("--uri", milvus.uri)
    assert "40 items, recall@20 1.0000" in run("load-milvus", bundle.path, *here, "--index-type", "FLAT")
    for one in (bundle, *others):
        Registry(registry).publish(one.bundle_id)
        followed = run("follow-milvus", registry, *here, "--index-type", "FLAT", "--once")
        assert f"reco_current: {collection_of(one.bundle_id)}" in followed
    assert run("follow-milvus", registry, *here, "--once") == ""
    newest = collection_of(next_of(bundle, 3).bundle_id)
    assert newest in run("follow-milvus", registry, *here, "--index-type", "FLAT", "--once", "--ahead")
    assert run("prune-milvus", registry, *here) == f"dropped {collection_of(bundle.bundle_id)}\n"
    assert newest in our_collections(connection)
    assert alias_target(connection) == collection_of(others[1].bundle_id)


def test_a_young_pointer_and_a_wrong_parameter_are_refused(milvus: MilvusServer, bundle: Bundle) -> None:
    run("publish", bundle.path)
    for arguments, told in (
        (("prune-milvus", bundle.path.parent), "expected that to be 3600 s ago"),
        (("load-milvus", bundle.path, "--search", "ef"), "'ef' is no parameter; expected NAME=N"),
    ):
        with pytest.raises(InputError, match=told):
            CliRunner().invoke(app, [*map(str, arguments), "--uri", milvus.uri], catch_exceptions=False)


def test_a_live_index_changes_items_beside_the_collection(connection: Milvus, bundle: Bundle, tmp_path: Path) -> None:
    load(connection, bundle)
    never = DeltaLimits(10**9, 10**9, 10**9)
    main = milvus_index(connection, bundle)
    query, items = bundle.user_embeddings[0], np.array(bundle.item_embeddings)
    best = [bundle.item_ids[row] for row in main.search(query, 4)[0][0].tolist()]
    for _ in ("opened", "opened again"):
        live = LiveIndex(
            tmp_path / "delta", main, bundle.item_ids, bundle.bundle_id, build=ItemIndex.build, limits=never
        )
        live.change({"new": query * 3, best[1]: -query}, remove=[best[0]])
        live.hide(np.array([live.row(best[2])]))
        rows, _ = live.snapshot.search(query, 40)
        found = [live.item_id(row) for row in rows[0].tolist() if row >= 0]
        assert (found[:2], len(found)) == (["new", best[3]], len(items) - 1)
        assert found.index(best[1]) > 20
        live.close()


def test_the_stored_search_settings_are_those_of_every_search(connection: Milvus, bundle: Bundle) -> None:
    load_bundle(connection, bundle, CollectionKind("HNSW", {"M": 8, "efConstruction": 40}, {"ef": 64}), floor=0.5)
    index = milvus_index(connection, bundle)
    assert index.engine.settings == {"ef": 64}
    assert np.isfinite(index.search(bundle.user_embeddings[:3], 5)[1]).all()


def test_the_filter_bench_finds_in_milvus_what_it_finds_here() -> None:
    small = ["--items", "1500", "--size", "8", "--queries", "2", "--k", "5"]
    lines = json.loads(run("bench-filters", *small, "--beside", "milvus", "--json"))
    beside = [line for line in lines if line["strategy"] in ("Milvus Lite", "ItemIndex over Milvus Lite")]
    assert len(beside) == 2 * len({line["case"] for line in lines})
    assert {line["recall"] for line in beside} == {1}
    with pytest.raises(InputError, match="--beside oracle: no database of this benchmark"):
        CliRunner().invoke(app, ["bench-filters", *small, "--beside", "oracle"], catch_exceptions=False)
