"""Applies changes of stored items to one bundle: new items get vectors, trained ones their newest record.

A trained item keeps its learned vector until the next training. Of an item that is deleted or unavailable the row stays
and is closed: no list shows it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from index.bundle import Bundle
from index.content_path import ContentPath, Features
from service.catalogue.embedded_items import EmbeddedItems
from service.catalogue.living_bundle import LivingBundle, LivingRecords
from service.catalogue.living_items import LivingItems, Record
from service.items.item import Item, ItemChange, bundle_record

Array = np.ndarray[Any, Any]

NO_PATH = "the bundle that serves cannot rank new items: it was exported without features"
WAITING = "its text and picture are being encoded"


class LivingState:
    """The living items of one bundle. For one thread at a time; snapshots may be read meanwhile.

    `encodes`: the modalities that an encoder makes of raw texts and pictures; `wanted` are the items that wait for it.
    `weight`: a factor on the scores of new items.
    """

    def __init__(self, trained: Bundle, encodes: Collection[str] = (), weight: float = 1.0) -> None:
        self.path = ContentPath.of(trained, weight)
        self.wanted: dict[str, Item] = {}
        self.not_ranked: dict[str, str] = {}  # why, of stored items without a vector
        self.position = 0  # all changes up to it are applied
        self._trained = trained
        self._encodes = frozenset(encodes)
        self._new = None if self.path is None else EmbeddedItems(trained, self.path)
        self._failed: dict[str, Item] = {}  # of which the encoder could not make all features
        self._records: dict[int, bytes] = {}
        self._closed: set[int] = set()
        self._content: dict[str, int] = {}  # of what each new item was embedded, as a hash
        self._changed_records: dict[int, Record | None] = {}
        self._changed_ids: dict[str, None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether the bundle is as it was written."""
        return not (
            self._records or self._closed or self._changed_records or (self._new is not None and len(self._new))
        )

    @property
    def counts(self) -> dict[str, int]:
        """How many items there are of each state."""
        new = 0 if self._new is None else len(self._new)
        n_trained = len(self._trained.item_ids)
        closed_new = sum(row >= n_trained for row in self._closed)
        return {
            "new": new - closed_new,
            "changed": sum(row < n_trained for row in self._records),
            "closed": len(self._closed),
            "waiting": len(self.wanted),
            "not_ranked": len(self.not_ranked),
        }

    def read(self, page: Sequence[ItemChange]) -> None:
        """Apply a page of the store's changes, read in order: those up to its end need not be applied again."""
        self.apply(page)
        if page:
            self.position = max(self.position, page[-1].position)

    def apply(self, changes: Iterable[ItemChange]) -> None:
        """Apply changes, each item's in their order."""
        newest = {one.item_id: one.item for one in changes if one.position > self.position}
        embed: list[tuple[Item, Features]] = []
        for item_id, item in newest.items():
            had_failed = self._failed.pop(item_id, None) is not None
            for by_id in (self.wanted, self.not_ranked):
                by_id.pop(item_id, None)
            row = self._trained.item_ids.row(item_id)
            if row is None and item is not None:
                embed += self._take_in(item, had_failed=had_failed)
            elif row is None:
                row = self._row_of_new(item_id)
            if row is not None:
                self._put_record(row, item)
        self._embed(embed)

    def encoded(self, answers: Sequence[tuple[Item, Features]], problems: Mapping[str, str]) -> None:
        """Embed items by the features that an encoder made of them; those that changed meanwhile wait on.

        problems: by item id, why not all features could be made.
        """
        embed: list[tuple[Item, Features]] = []
        for item, made in answers:
            if self.wanted.get(item.item_id) is not item:
                continue
            del self.wanted[item.item_id]
            problem = problems.get(item.item_id)
            if problem is not None:
                self._failed[item.item_id] = item
            features: dict[str, Sequence[float]] = {**made, **self._usable(item)}
            if self.path is not None and self.path.knows(features) and self.path.problem(features) is None:
                self.not_ranked.pop(item.item_id, None)
                embed.append((item, features))
            elif self._row_of_new(item.item_id) is None or not self._usable(item):
                self._set_not_ranked(item, f"its text and picture could not be encoded: {problem or 'nothing found'}")
        self._embed(embed)

    def encode_again(self, item_ids: Iterable[str]) -> None:
        """Let items wait for the encoder that could not make all of their features before."""
        for item_id in item_ids:
            item = self._failed.pop(item_id, None)
            if item is not None:
                self.wanted.setdefault(item_id, item)

    def reset(self) -> None:
        """Forget all items: the store lost its changes, and they all come again. Ids keep their rows."""
        n = len(self._trained.item_ids)
        for row in self._records:
            self._changed_records[row] = self._trained.item(row) if row < n else None
        new = 0 if self._new is None else len(self._new)
        self._records = {row: record for row, record in self._records.items() if row >= n}
        self._closed = set(range(n, n + new))
        self._content.clear()
        self.wanted.clear()
        self.not_ranked.clear()
        self._failed.clear()
        self.position = 0

    def snapshot(self) -> LivingItems:
        """The state as it is; what it says to have changed, the next one does not say again."""
        records, changed, ids = dict(self._records), self._changed_records, tuple(self._changed_ids)
        self._changed_records, self._changed_ids = {}, {}
        new = self._new
        return LivingItems(
            bundle=self._bundle(records) if new is None else new.bundle(records),
            records=records,
            closed=np.array(sorted(self._closed), np.int64),
            changed_records=changed,
            changed_ids=ids,
            views={} if new is None else new.views(),
            slot_rows=np.empty(0, np.int64) if new is None else new.slot_rows,
            norm=0.0 if new is None else new.norm,
        )

    def _bundle(self, records: dict[int, bytes]) -> LivingBundle:
        items = self._trained.items
        living = LivingRecords(items.blob, items.offsets, records, len(items))
        return LivingBundle.over(self._trained, items=living)

    def _row_of_new(self, item_id: str) -> int | None:
        return None if self._new is None else self._new.row(item_id)

    def _take_in(self, item: Item, *, had_failed: bool) -> list[tuple[Item, Features]]:
        """What of a new item is to be embedded; other items are told why not, or wait for the encoder.

        had_failed: whether the encoder could not make all features of it as it was before.
        """
        if self.path is None:
            self._set_not_ranked(item, NO_PATH)
            return []
        row, content = self._row_of_new(item.item_id), _content_of(item)
        if row is not None and self._content.get(item.item_id) == content:
            if had_failed:
                self._failed[item.item_id] = item
            self._put_record(row, item)
            return []
        usable, wanted = self._usable(item), self._is_wanted(item)
        if wanted:
            self.wanted[item.item_id] = item
        if self.path.knows(usable):
            return [(item, usable)]
        if wanted and row is not None:  # its last vector serves until then
            self._put_record(row, item)
        else:
            self._set_not_ranked(item, WAITING if wanted else self._reason(item))
        return []

    def _usable(self, item: Item) -> dict[str, Sequence[float]]:
        """The ready features that fit the bundle."""
        path = self.path
        given = {str(modality): values for modality, values in item.features.items()}
        return {m: values for m, values in given.items() if path is not None and path.problem({m: values}) is None}

    def _is_wanted(self, item: Item) -> bool:
        """Whether an encoder can make features that the item lacks."""
        raw = {"text": item.text or item.title, "image": item.image}
        needed = () if self.path is None else self.path.needed
        usable = self._usable(item)
        return any(m in self._encodes and m not in usable and raw.get(m) for m in needed)

    def _reason(self, item: Item) -> str:
        assert self.path is not None
        for modality, values in item.features.items():
            if problem := self.path.problem({modality: values}):
                return problem
        lacks = f"it has no features of {' or '.join(self.path.needed)}"
        return lacks if self._encodes else f"{lacks}, and no encoder of the bundle can be used here"

    def _set_not_ranked(self, item: Item, reason: str) -> None:
        self.not_ranked[item.item_id] = reason
        self._content.pop(item.item_id, None)
        row = self._row_of_new(item.item_id)
        if row is not None:
            self._put_record(row, item)
            self._closed.add(row)

    def _embed(self, given: Sequence[tuple[Item, Features]]) -> None:
        if not given or self._new is None:
            return
        self._new.put([item.item_id for item, _ in given], [features for _, features in given])
        for item, _ in given:
            row = self._new.row(item.item_id)
            assert row is not None
            self._content[item.item_id] = _content_of(item) if item.item_id not in self.wanted else 0
            self._changed_ids[item.item_id] = None
            self._put_record(row, item)

    def _put_record(self, row: int, item: Item | None) -> None:
        """Set an item's newest record, and open or close its row."""
        if item is None:
            self._changed_records[row] = None
            self._closed.add(row)
            return
        record = bundle_record(item)
        self._records[row] = orjson.dumps(record)
        self._changed_records[row] = {**record, "available": item.available, "created_at": item.created_at}
        if item.available:
            self._closed.discard(row)
        else:
            self._closed.add(row)


def _content_of(item: Item) -> int:
    """A hash of what an item is embedded of."""
    features: Mapping[Any, Sequence[float]] = item.features
    return hash((item.text or item.title, item.image, tuple(sorted((m, tuple(v)) for m, v in features.items()))))
