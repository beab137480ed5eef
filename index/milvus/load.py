"""Loads a bundle's items into a Milvus collection of its own, points an alias to it, and drops collections."""

import time
from collections.abc import Callable, Collection, Iterator

from pymilvus import DataType, MilvusClient
from rich.console import Console

from index.bundle import Bundle, open_bundle
from index.errors import InputError
from index.milvus.engine import (
    METRIC,
    ROW,
    SEARCH_SETTINGS,
    VECTOR,
    Milvus,
    MilvusEngine,
    over_milvus,
    settings_text,
    stored_settings,
)
from index.milvus.names import ALIAS, CollectionKind, collection_of, is_of_a_bundle
from index.ranking import Array
from index.recall import PROMISED_AT, measured_recall
from index.registry import Registry

_BYTES_AT_ONCE = 4_000_000  # of vectors in one insert
_POLL_S = 1.0


def load_bundle(
    milvus: Milvus,
    bundle: Bundle,
    kind: CollectionKind,
    *,
    floor: float,
    progress: Callable[[int], None] = lambda n_rows: None,
) -> float:
    """Load every item, wait for the index, and measure recall@20 as a bundle's index is; returns that recall.

    Goes on where an earlier run ended, and only measures where that run was whole. `progress` gets the number of rows
    that are there. InputError where the recall is below `floor` or what the bundle promises: then the collection stays,
    and nothing serves from it. MilvusError where Milvus does not respond.
    """
    name = collection_of(bundle.bundle_id)
    floor = max(floor, bundle.manifest.index.promised or 0.0)
    load_vectors(milvus, name, bundle.item_embeddings, kind, progress)
    recall = _recall(milvus, name, bundle, kind)
    if recall < floor:
        raise InputError(
            f"{name} has recall@{PROMISED_AT} {recall:.4f} against exact search; expected at least {floor:g}: drop it, "
            "and load it with more thorough build or search settings"
        )
    milvus.call("alter_collection_properties", name, properties={SEARCH_SETTINGS: settings_text(kind.search)})
    return recall


def load_vectors(
    milvus: Milvus, name: str, vectors: Array, kind: CollectionKind, progress: Callable[[int], None] = lambda n: None
) -> None:
    """Load vectors (n, d) into a collection, by row, until all are indexed and in memory. As `load_bundle`."""
    if not milvus.call("has_collection", name):
        _create(milvus, name, kind, vectors.shape[1])
    for n_rows in _insert(milvus, name, vectors):
        progress(n_rows)
    milvus.call("flush", name)
    _wait_for_index(milvus, name)
    milvus.call("load_collection", name)


def load_from(milvus: Milvus, registry: Registry, bundle_id: str, kind: CollectionKind, floor: float) -> None:
    """Load a bundle of a registry, and print its progress and recall. Errors as `load_bundle` and `open_bundle`."""
    bundle = open_bundle(registry.path(bundle_id))
    n_items = bundle.manifest.n_items
    with Console(stderr=True).status("loading") as status:

        def show(n_rows: int) -> None:
            status.update(f"loaded {n_rows:,} of {n_items:,} items")

        recall = load_bundle(milvus, bundle, kind, floor=floor, progress=show)
    print(f"{collection_of(bundle_id)}: {n_items} items, recall@{PROMISED_AT} {recall:.4f}", flush=True)


def follow_pointer(
    milvus: Milvus, registry: Registry, kind: CollectionKind, *, floor: float, alias: str = ALIAS, ahead: bool = False
) -> None:
    """Load the published bundle unless it is there, and let the alias name it. Errors as `load_bundle`.

    ahead: then load the newest bundle, too, so that it is there when it is published.
    """
    serving = registry.current_id()
    if serving is not None and registry.record(serving).withdrawn is None:
        _ensure(milvus, registry, serving, kind, floor)
        if alias_target(milvus, alias) != collection_of(serving):
            point_alias(milvus, serving, alias)
            print(f"{alias}: {collection_of(serving)}", flush=True)
    newest = registry.ids()[:1] if ahead else []
    for bundle_id in newest:
        if bundle_id != serving and registry.record(bundle_id).withdrawn is None:
            _ensure(milvus, registry, bundle_id, kind, floor)


def _ensure(milvus: Milvus, registry: Registry, bundle_id: str, kind: CollectionKind, floor: float) -> None:
    if is_loaded(milvus, bundle_id):
        milvus.call("load_collection", collection_of(bundle_id))  # Milvus Lite forgets that when it restarts
    else:
        load_from(milvus, registry, bundle_id, kind, floor)


def is_loaded(milvus: Milvus, bundle_id: str) -> bool:
    """Whether the bundle's collection is whole and has passed."""
    return stored_settings(milvus, collection_of(bundle_id)) is not None


def point_alias(milvus: Milvus, bundle_id: str, alias: str = ALIAS) -> None:
    """Let the alias name the bundle's collection, from one search to the next. InputError where it is not whole."""
    if not is_loaded(milvus, bundle_id):
        raise InputError(f"Milvus has no whole collection of bundle {bundle_id}; load it before the alias moves")
    moved = "alter_alias" if alias_target(milvus, alias) else "create_alias"
    milvus.call(moved, collection_of(bundle_id), alias)


def alias_target(milvus: Milvus, alias: str = ALIAS) -> str | None:
    """The collection that the alias names; None where there is no such alias."""
    for name in our_collections(milvus):
        if alias in milvus.call("list_aliases", name)["aliases"]:
            return name
    return None


def our_collections(milvus: Milvus) -> list[str]:
    """The names of all collections of bundles, oldest bundle first."""
    return sorted(name for name in milvus.call("list_collections") if is_of_a_bundle(name))


def drop_others(milvus: Milvus, kept: Collection[str], alias: str = ALIAS) -> list[str]:
    """Drop the collections of bundles other than those kept and the one that the alias names; returns their names."""
    names = {collection_of(bundle_id) for bundle_id in kept} | {alias_target(milvus, alias)}
    dropped = [name for name in our_collections(milvus) if name not in names]
    for name in dropped:
        for other in milvus.call("list_aliases", name)["aliases"]:
            milvus.call("drop_alias", other)
        milvus.call("drop_collection", name)
    return dropped


def _create(milvus: Milvus, name: str, kind: CollectionKind, size: int) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ROW, DataType.INT64, is_primary=True)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=size)
    index = MilvusClient.prepare_index_params()
    index.add_index(VECTOR, index_type=kind.index_type, metric_type=METRIC, params=dict(kind.build))
    milvus.call("create_collection", name, schema=schema, index_params=index)


def _insert(milvus: Milvus, name: str, vectors: Array) -> Iterator[int]:
    """Insert the rows (n, d) in order, from the first part that is not there wholly; yields how many are there."""
    n, size = vectors.shape
    at_once = max(1, _BYTES_AT_ONCE // (4 * size))
    there = _n_rows(milvus, name)
    first = there // at_once * at_once
    yield first
    for start in range(first, n, at_once):
        rows = [{ROW: start + i, VECTOR: vector} for i, vector in enumerate(vectors[start : start + at_once])]
        # A killed run may have left a part of what it last sent, and Milvus keeps two rows of one key.
        milvus.call("upsert" if start == first < there else "insert", name, rows)
        yield start + len(rows)
    if (found := _n_rows(milvus, name)) != n:
        raise InputError(f"{name} has {found} rows; expected {n}: drop the collection and load it again")


def _n_rows(milvus: Milvus, name: str) -> int:
    milvus.call("load_collection", name)  # only loaded collections are counted
    counted = milvus.call("query", name, filter="", output_fields=["count(*)"], consistency_level="Strong")
    return int(counted[0]["count(*)"])


def _wait_for_index(milvus: Milvus, name: str) -> None:
    """Wait until Milvus has indexed every row; InputError where it fails to."""
    while True:
        found = milvus.call("describe_index", name, VECTOR)
        if found.get("state") == "Failed":
            raise InputError(f"Milvus cannot index {name}: {found.get('index_state_fail_reason', 'no reason given')}")
        if found.get("state", "Finished") == "Finished" and not found.get("pending_index_rows"):
            return
        time.sleep(_POLL_S)


def _recall(milvus: Milvus, name: str, bundle: Bundle, kind: CollectionKind) -> float:
    index = over_milvus(MilvusEngine.of(milvus, name, kind.search), bundle.index())
    found = measured_recall(index, bundle.item_embeddings, bundle.user_embeddings, bundle.seen, at=(PROMISED_AT,))
    return found[f"recall@{PROMISED_AT}"]
