"""A bundle's items in a Milvus collection, searched through the same ItemIndex as a FAISS index.

Milvus proposes rows; ItemIndex scores them again from the bundle's vectors, so that scores, ties and exclusions are
those of any index. A collection belongs to one bundle and bears its id: no search can mix two bundles.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import grpc
import numpy as np
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from index.bundle import Bundle
from index.engine import Engine
from index.errors import InputError
from index.item_index import ItemIndex
from index.milvus.names import collection_of
from index.ranking import Array, empty_result

ROW, VECTOR = "row", "vector"
METRIC = "IP"
# A property of a whole collection: the search settings, such as ef=128. Set last, so that it says: whole and checked.
SEARCH_SETTINGS = "anchorrec.search"
MAX_FETCH = 16_384  # Milvus's default limit of results (quotaAndLimits.limits.topK)
# Up to so many rows are named in the filter of a search. Beyond, more rows are fetched first (Milvus Lite over 20,000
# items: 10,000 rows named 120 ms, 2,048 fetched 60 ms).
MAX_NAMED = 4_096
FETCH_FIRST = 2_048
_CONNECT_FAILED = 2
_CONNECT_S = 10.0
# Channels share no backoff, and try again within a second: gRPC's own default grows to two minutes.
_CHANNEL = {"grpc.use_local_subchannel_pool": 1, "grpc.max_reconnect_backoff_ms": 1_000}

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each error with its stack before raising it


class MilvusError(RuntimeError):
    """Milvus did not respond in time, or refused a call. `late` tells a timeout from the rest."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


@contextmanager
def milvus_errors_as_input_errors() -> Iterator[None]:
    """For command lines, which end with one line."""
    try:
        yield
    except MilvusError as error:
        raise InputError(str(error)) from error


class Milvus:
    """A connection to a Milvus server or cluster, opened by the first call and again after it is lost. Thread-safe.

    uri: `http://host:19530`, or https, with `/database` where it is not the default one. timeout_s: of each call.
    """

    def __init__(self, uri: str, token: str = "", *, timeout_s: float = 60.0) -> None:
        self._uri = uri
        self._token = token
        self._timeout_s = timeout_s
        self._client: Any = None  # MilvusClient
        self._lock = threading.Lock()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The result of a method of MilvusClient; MilvusError where it fails or takes longer than the timeout."""
        client = None
        try:
            client = self._connected()
            return getattr(client, method)(*arguments, timeout=self._timeout_s, **options)
        except (MilvusException, grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed meanwhile
            if _is_lost(error):
                self._drop(client)
            raise MilvusError(f"Milvus, {method}: {_reason(error)}", late=_is_late(error)) from error

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        self._drop(self._client)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                connect_s = min(self._timeout_s, _CONNECT_S)
                self._client = MilvusClient(
                    uri=self._uri, token=self._token, timeout=connect_s, dedicated=True, grpc_options=_CHANNEL
                )
            return self._client

    def _drop(self, client: Any) -> None:
        with self._lock:
            if client is None or self._client is not client:
                return
            self._client = None
        client.close()  # outside of the lock: others may connect meanwhile


def _is_late(error: Exception) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def _is_lost(error: Exception) -> bool:
    if isinstance(error, MilvusException):
        return bool(error.code == _CONNECT_FAILED)
    return not _is_late(error)


def _reason(error: Exception) -> str:
    said = error.details() if isinstance(error, grpc.Call) else getattr(error, "message", str(error))
    return " ".join(str(said).split())[:300] or type(error).__name__


@dataclass(frozen=True, eq=False, kw_only=True)
class MilvusEngine(Engine):
    """The collection of one bundle with the search of an engine. Safe from several threads at once."""

    milvus: Milvus
    settings_of: "SearchSettings"

    @classmethod
    def of(cls, milvus: Milvus, collection: str, search: Mapping[str, int] | None = None, **more: Any) -> Self:
        """Sends nothing yet. `search`: the search settings, by default those that were stored with the collection."""
        return cls(
            index=collection,
            # Of a quantised kind the last score is no bound, which then costs a wider search now and then.
            exact=True,
            exhaustive=False,
            takes_selector=True,
            max_fetch=MAX_FETCH,
            device="milvus",
            milvus=milvus,
            settings_of=SearchSettings(milvus, collection, search),
            **more,
        )

    def search(self, queries: Array, n: int, allowed: Array | None = None, effort: float = 1.0) -> tuple[Array, Array]:
        """As Engine.search; MilvusError where Milvus does not respond."""
        if allowed is None or allowed.all():
            return self._fetch(queries, n, "", effort)
        if not allowed.any():
            return empty_result(len(queries), n)
        named = _named(allowed)
        if named.size > MAX_NAMED and n < FETCH_FIRST:
            found, scores = self._fetch(queries, FETCH_FIRST, "", effort)
            kept = _kept(found, scores, allowed, n)
            if (kept[0] >= 0).all():
                return kept
        return self.search_within(queries, n, "in" if allowed[named[0]] else "not in", named, effort)

    def search_within(self, queries: Array, n: int, word: str, rows: Array, effort: float = 1.0) -> tuple[Array, Array]:
        """As `search`, among the rows named ("in") or among all others ("not in")."""
        return self._fetch(queries, n, f"{ROW} {word} [{','.join(map(str, rows.tolist()))}]", effort)

    def _fetch(self, queries: Array, n: int, filter_: str, effort: float) -> tuple[Array, Array]:
        rows, scores = empty_result(len(queries), n)
        found = self.milvus.call(
            "search",
            self.index,
            data=queries,
            filter=filter_,
            limit=min(n, MAX_FETCH),
            output_fields=[ROW],
            anns_field=VECTOR,
            search_params={"metric_type": METRIC, "params": self.settings_of.scaled(n, effort)},
            consistency_level="Eventually",
            retry_on_rate_limit=False,
        )
        for i, hits in enumerate(found):
            rows[i, : len(hits)] = [hit[ROW] for hit in hits]
            scores[i, : len(hits)] = [hit["distance"] for hit in hits]
        return rows, scores

    @property
    def settings(self) -> dict[str, int]:
        """The search settings of the collection; MilvusError where Milvus does not respond."""
        return dict(self.settings_of.read())


class SearchSettings:
    """The search settings of a collection, such as ef or nprobe, read from it once."""

    def __init__(self, milvus: Milvus, collection: str, given: Mapping[str, int] | None) -> None:
        self._milvus = milvus
        self._collection = collection
        self._settings = given

    def read(self) -> Mapping[str, int]:
        """MilvusError where Milvus does not respond or the collection is not wholly loaded."""
        if self._settings is None:
            self._settings = stored_settings(self._milvus, self._collection)
        if self._settings is None:
            raise MilvusError(f"Milvus has no whole collection {self._collection}")
        return self._settings

    def scaled(self, n: int, effort: float) -> dict[str, int]:
        """The settings times `effort`; no fewer candidates than results, which Milvus refuses."""
        floors = {"ef": n, "search_list": n}
        return {name: max(int(np.ceil(value * effort)), floors.get(name, 1)) for name, value in self.read().items()}


def stored_settings(milvus: Milvus, collection: str) -> dict[str, int] | None:
    """The search settings of a collection that is wholly loaded; None where it is not, or is not there."""
    if not milvus.call("has_collection", collection):
        return None
    text = milvus.call("describe_collection", collection)["properties"].get(SEARCH_SETTINGS)
    if text is None:
        return None
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {name: int(value) for name, _, value in pairs}


def settings_text(search: Mapping[str, int]) -> str:
    """Search settings as a property of a collection: `ef=128`."""
    return ",".join(f"{name}={value}" for name, value in search.items())


def milvus_index(milvus: Milvus, bundle: Bundle) -> ItemIndex:
    """The index over the bundle's collection; its own index takes what Milvus cannot do, such as lists beyond 16,384.

    Sends nothing yet. BundleError where the bundle's own index is damaged.
    """
    return over_milvus(MilvusEngine.of(milvus, collection_of(bundle.bundle_id)), bundle.index())


def over_milvus(engine: MilvusEngine, local: ItemIndex) -> ItemIndex:
    """An index that fetches by the engine, over the vectors of the local index."""
    return replace(local, engine=engine, overflow=local)


def require_collection(milvus: Milvus, bundle_id: str) -> None:
    """InputError where Milvus has no whole, loaded collection of the bundle; MilvusError where it does not respond."""
    name = collection_of(bundle_id)
    missing = stored_settings(milvus, name) is None
    if missing or milvus.call("get_load_state", name)["state"].name != "Loaded":
        what = "no whole collection" if missing else "not loaded the collection"
        raise InputError(f"Milvus has {what} of bundle {bundle_id}; expected one: python -m index load-milvus")


def _named(allowed: Array) -> Array:
    """The rows to name in a filter: those allowed or those left out, whichever are fewer."""
    n_allowed = int(np.count_nonzero(allowed))
    return np.flatnonzero(allowed if 2 * n_allowed <= len(allowed) else ~allowed)


def _kept(found: Array, scores: Array, allowed: Array, n: int) -> tuple[Array, Array]:
    """The first n allowed rows of each list (m, f), best first, padded with -1."""
    out = (found < 0) | ~allowed[found]
    order = np.argsort(out, axis=1, kind="stable")[:, :n]
    rows, kept = np.take_along_axis(np.where(out, -1, found), order, 1), np.take_along_axis(scores, order, 1)
    return rows, kept
