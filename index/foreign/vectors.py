"""Makes a bundle of vectors that were trained elsewhere (docs/foreign-vectors.md)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from index import neighbour_rows
from index.attribute_types import inferred_types
from index.auto.choice import AUTO
from index.content import BundleContent
from index.errors import InputError
from index.foreign.folding import Folding, fitted, of_item_vectors
from index.foreign.ids import row_by_id
from index.foreign.interactions import Histories, Unknown, histories
from index.foreign.item_records import item_records
from index.invariants import fold_in_sums
from index.layout import first_non_finite_row
from index.manifest import MODALITIES, PARTS
from index.progress import built_kinds
from index.publishing import publish_gated
from index.registry import open_registry
from index.trend import decayed_counts
from index.writing import write_bundle

Array = np.ndarray[Any, Any]
Tell = Callable[[str], None]

BY = "bundle_from_vectors"
HALF_LIFE_DAYS = 30.0  # of the popularity trend
COPIES = Path("~/.cache/anchorrec")
_USERS_AT_ONCE = 16_384


def bundle_from_vectors(
    registry: str | Path,
    *,
    item_ids: Iterable[Any],
    item_vectors: Any,
    user_ids: Iterable[Any] | None = None,
    user_vectors: Any = None,
    interactions: Any = None,
    items: Any = None,
    item_parts: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
    model: str = "vectors",
    factory: str = AUTO,
    unknown_items: Unknown = "refuse",
    publish: bool = False,
    created_at: datetime | None = None,
    tell: Tell | None = None,
) -> Path:
    """Write vectors as a bundle into a registry, and return the bundle's folder. A score is an inner product.

    Args:
        registry: a folder, made if need be, or a bucket's URL.
        item_ids: of the items, in the order of `item_vectors` (n_items, d).
        user_ids: of the users, in the order of `user_vectors` (n_users, d); users without vectors are
            made of their items.
        interactions: rows (user, item) or (user, item, timestamp), a table with the columns user_id, item_id and
            perhaps timestamp, or a sparse matrix of users by items. What users have had is not recommended to them.
        items: metadata: a table, or rows with item_id, title, category, image; other fields are attributes.
        item_parts: arrays by part (id, text, image, multimodal, anchor) that sum to `item_vectors`; if unset,
            they are the part id.
        features: arrays (n_items, width) by modality (text, image, multimodal) in which items have neighbours.
        model: the name in the bundle's id.
        factory: FAISS factory string of the search index, or `auto`: the fastest by measurement.
        unknown_items: whether interactions with items without vectors are an error, or left out.
        publish: run the gate and let the bundle serve.
        created_at: goes into the bundle's id; now if unset.
        tell: called with what was found and done, a sentence at a time.

    Raises:
        InputError: what was found and what was expected instead; then nothing has been written. Also where the gate
            refuses to publish the bundle.
    """
    tell = tell or _say_nothing
    content = content_of_vectors(
        item_ids=item_ids,
        item_vectors=item_vectors,
        user_ids=user_ids,
        user_vectors=user_vectors,
        interactions=interactions,
        items=items,
        item_parts=item_parts,
        features=features,
        model=model,
        unknown_items=unknown_items,
        tell=tell,
    )
    opened = open_registry(str(registry), COPIES)
    created_at = created_at or datetime.now(UTC)
    with built_kinds() as building:
        path = write_bundle(opened.folder, content, created_at=created_at, factory=factory, tell=building)
    opened.add_bundle(path)
    if publish:
        publish_gated(opened, path.name, by=BY)
        tell(f"published {path.name}")
    return path


def content_of_vectors(
    *,
    item_ids: Iterable[Any],
    item_vectors: Any,
    user_ids: Iterable[Any] | None = None,
    user_vectors: Any = None,
    interactions: Any = None,
    items: Any = None,
    item_parts: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
    model: str = "vectors",
    unknown_items: Unknown = "refuse",
    tell: Tell,
) -> BundleContent:
    """The content of such a bundle, in memory; arguments and errors as above."""
    item_rows = row_by_id("item_ids", item_ids)
    vectors = _checked("item_vectors", item_vectors, len(item_rows), "item_ids")
    if user_ids is None and user_vectors is not None:
        raise InputError("user_vectors come without user_ids; expected an id for each row")
    user_rows = row_by_id("user_ids", () if user_ids is None else user_ids)
    given = None if user_vectors is None else _checked("user_vectors", user_vectors, len(user_rows), "user_ids")
    if given is not None and given.shape[1] != vectors.shape[1]:
        raise InputError(f"user_vectors are {given.shape[1]} wide; expected {vectors.shape[1]}, as item_vectors are")
    checked_parts = _parts(item_parts, vectors)
    checked_features = _features(features, len(item_rows))
    seen = histories(interactions, user_rows, item_rows, unknown_items=unknown_items)
    if not user_rows:
        raise InputError("there are no users; expected user_vectors, interactions or both")
    tell(_size_sentence(len(user_rows), len(item_rows), seen))
    folding = of_item_vectors(vectors) if given is None else fitted(vectors, given, seen)
    tell(_fold_in_sentence(folding, n_without=len(user_rows) - (0 if given is None else len(given))))
    users, own = _user_tables(folding, given, seen)
    projections = {
        name: neighbour_rows.projection_of(rows)
        for name, rows in checked_features.items()
        if neighbour_rows.is_projected(rows)
    }
    records = item_records(items, item_rows)
    return BundleContent(
        model=model,
        config={"made_by": BY, "fold_in": folding.method, "fold_in_explains": _shares(folding)},
        data_fingerprint=_fingerprint(user_rows, item_rows, seen),
        seed=0,
        metrics={},
        user_ids=list(user_rows),
        item_ids=list(item_rows),
        user_embeddings=users,
        item_embeddings=vectors,
        item_parts=checked_parts,
        fold_in=folding.fold_in,
        fold_in_exact=given is None,
        user_own=own,
        seen_offsets=seen.offsets,
        seen_items=seen.items,
        popularity_count=np.bincount(seen.items, minlength=len(item_rows)).astype(np.int64),
        popularity_trend=decayed_counts(seen.items, seen.times, len(item_rows), HALF_LIFE_DAYS).astype(np.float32),
        neighbours={
            name: neighbour_rows.compact(rows, projections.get(name)) for name, rows in checked_features.items()
        },
        projections=projections,
        items=records,
        attribute_types=inferred_types(record["attributes"] for record in records),
    )


def _checked(name: str, given: Any, n: int, ids: str) -> Array:
    """The vectors as float32 in C order; InputError where shape or numbers are wrong."""
    array = np.asarray(given)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[-1]:
        raise InputError(f"{name} are {array.dtype} {array.shape}; expected numbers of shape (rows, dimensions)")
    if len(array) != n:
        raise InputError(f"{name} have {len(array):,} rows; expected {n:,}, one for each of {ids}")
    if not n:
        raise InputError(f"{name} have no rows; expected at least one")
    with np.errstate(over="ignore"):  # told below
        rows: Array = np.ascontiguousarray(array, np.float32)
    wrong = first_non_finite_row(rows)
    if wrong is not None:
        raise InputError(f"{name} have a value in row {wrong} that is not finite as float32; expected finite numbers")
    return rows


def _parts(given: Mapping[str, Any] | None, vectors: Array) -> dict[str, Array]:
    if given is None:
        return {"id": vectors}
    unknown = sorted(set(given) - set(PARTS))
    if unknown:
        raise InputError(f"item_parts have {', '.join(unknown)}; expected names among {', '.join(PARTS)}")
    return {name: _checked(f"item_parts[{name!r}]", part, len(vectors), "item_ids") for name, part in given.items()}


def _features(given: Mapping[str, Any] | None, n: int) -> dict[str, Array]:
    unknown = sorted(set(given or ()) - set(MODALITIES))
    if unknown:
        raise InputError(f"features have {', '.join(unknown)}; expected names among {', '.join(MODALITIES)}")
    return {name: _checked(f"features[{name!r}]", rows, n, "item_ids") for name, rows in (given or {}).items()}


def _user_tables(folding: Folding, given: Array | None, seen: Histories) -> tuple[Array, Array | None]:
    """The users' vectors, and their own terms: what fold-in misses of the given vectors."""
    n, d = len(seen.offsets) - 1, folding.fold_in.shape[1]
    users = np.empty((n, d), np.float32)
    for start in range(0, n, _USERS_AT_ONCE):
        stop = min(start + _USERS_AT_ONCE, n)
        users[start:stop] = fold_in_sums(folding.fold_in, seen.offsets[start : stop + 1], seen.items)
    if given is None:
        return users, None
    own = np.zeros((n, d), np.float32)
    own[: len(given)] = given - users[: len(given)]
    users[: len(given)] = given
    return users, own


def _fingerprint(users: Iterable[str], items: Iterable[str], seen: Histories) -> str:
    found = hashlib.sha256()
    for ids in (users, items):
        for one in ids:
            found.update(one.encode(errors="surrogatepass") + b"\0")
    for array in (seen.offsets, seen.items, seen.times):
        found.update(array.tobytes())
    return found.hexdigest()


def _size_sentence(n_users: int, n_items: int, seen: Histories) -> str:
    dropped = f"; {seen.dropped:,} with unknown items are left out" if seen.dropped else ""
    return f"{n_users:,} users, {n_items:,} items, {len(seen.items):,} interactions{dropped}"


def _fold_in_sentence(folding: Folding, n_without: int) -> str:
    told = f"an interaction adds to a user: {folding.method}"
    if folding.explains is not None:
        told += f", which gives {folding.explains:.0%} of the scores (mean square); the rest is the users' own term"
    if folding.explains_new is not None:
        told += f". Of users that it was not fitted to: {folding.explains_new:.0%}"
    return told + (f". Users who are made of their items alone: {n_without:,}" if n_without else "")


def _shares(folding: Folding) -> dict[str, float]:
    shares = {"all users": folding.explains, "users not fitted to": folding.explains_new}
    return {name: round(share, 6) for name, share in shares.items() if share is not None}


def _say_nothing(told: str) -> None:
    pass
