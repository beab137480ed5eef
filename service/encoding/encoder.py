"""Features of items from their raw texts and pictures, by the encoders that a bundle names."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from index.bundle import Bundle
from index.manifest import EncoderInfo, Modality
from service.encoding.content_encoder import ContentEncoder, Failure
from service.encoding.encoding import Encoding
from service.encoding.feature_cache import Row, content_key
from service.encoding.picture_error import PictureError
from service.items.item import Item

ITEMS_AT_ONCE = 16  # whose contents are in memory together
RETRIES = 5  # of an item that failed for a reason that may pass, by the caller of `due`
FIRST_RETRY_S = 10.0  # doubled at each further one

Made = dict[Modality, list[float]]

log = structlog.get_logger()


@dataclass(frozen=True)
class ItemProblem:
    """Why an item lacks features. `due_at`, by the monotonic clock: when to try again; None where that cannot help."""

    reason: str
    attempts: int
    due_at: float | None


class ItemEncoder:
    """Makes features of items by the encoders of one bundle.

    What fails leaves the item without that modality: `problems` says why by item id, `due` which items to encode again.
    """

    def __init__(self, encoding: Encoding, encoders: Mapping[Modality, EncoderInfo]) -> None:
        self._of = encoding
        self._text = ContentEncoder(encoding, "text", encoders["text"]) if "text" in encoders else None
        self._image = ContentEncoder(encoding, "image", encoders["image"]) if "image" in encoders else None
        self.problems: dict[str, ItemProblem] = {}

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can make features of here; empty where the extra `encode` is missing."""
        pairs: list[tuple[Modality, ContentEncoder | None]] = [("text", self._text), ("image", self._image)]
        return frozenset(kind for kind, one in pairs if one is not None and self._of.unusable is None)

    @property
    def problem(self) -> str | None:
        """Why words or pictures of items cannot be encoded now; None while they can."""
        encoders = [one for one in (self._text, self._image) if one is not None]
        if not encoders:
            return "the bundle names no encoders, so only ready features count (`python -m trainer export` adds them)"
        unopened = next((one.problem for one in encoders if one.problem), None)
        return self._of.unusable or unopened or self._of.process.problem

    def due(self) -> list[str]:
        """The ids of items that lack features for a reason that may have passed."""
        now = time.monotonic()
        return [one for one, problem in self.problems.items() if problem.due_at is not None and problem.due_at <= now]

    def forget(self, item_ids: Sequence[str]) -> None:
        """Drop the problems of items that are gone."""
        for item_id in item_ids:
            self.problems.pop(item_id, None)

    async def encode(self, items: Sequence[Item]) -> list[Made]:
        """The features of each item that its raw content gives: its text, else its title, and its picture.

        A modality with ready features is left out, and so is one that fails.
        """
        if self._of.unusable is not None:
            for item in items:
                self.problems[item.item_id] = ItemProblem(self._of.unusable, 1, None)
            return [{} for _ in items]
        made: list[Made] = []
        queue = self._of.metrics.encoding_queue
        queue.inc(len(items))
        try:
            for start in range(0, len(items), ITEMS_AT_ONCE):
                made += await self._encode_some(items[start : start + ITEMS_AT_ONCE])
        finally:
            queue.dec(len(items))
        return made

    async def _encode_some(self, items: Sequence[Item]) -> list[Made]:
        texts, pictures = await asyncio.gather(self._texts(items), self._pictures(items))
        return [
            self._taken(item, {"text": text, "image": picture})
            for item, text, picture in zip(items, texts, pictures, strict=True)
        ]

    def _taken(self, item: Item, outcomes: Mapping[Modality, Row | Failure | None]) -> Made:
        """The features among the outcomes; failures are counted and kept as the item's problem."""
        failures = {kind: one for kind, one in outcomes.items() if isinstance(one, Failure)}
        for kind in failures:
            self._of.metrics.encoding_failures.labels(kind).inc()
        before = self.problems.pop(item.item_id, None)
        if failures:
            attempts = 1 if before is None else before.attempts + 1
            may_pass = attempts <= RETRIES and any(one.may_pass for one in failures.values())
            due_at = time.monotonic() + FIRST_RETRY_S * 2.0 ** (attempts - 1) if may_pass else None
            reason = "; ".join(f"{kind}: {one.reason}" for kind, one in failures.items())
            self.problems[item.item_id] = ItemProblem(reason, attempts, due_at)
        return {
            kind: one.tolist() for kind, one in outcomes.items() if one is not None and not isinstance(one, Failure)
        }

    async def _texts(self, items: Sequence[Item]) -> list[Row | Failure | None]:
        encoder = self._text
        if encoder is None:
            return [None] * len(items)
        texts = [(item.text.strip() or item.title.strip()).encode(errors="replace") for item in items]
        wanted = [text for text, item in zip(texts, items, strict=True) if text and "text" not in item.features]
        contents = {content_key(text): text for text in wanted}
        found = await self._found(encoder, contents)
        return [found.get(content_key(text)) if text in wanted else None for text in texts]

    async def _pictures(self, items: Sequence[Item]) -> list[Row | Failure | None]:
        encoder = self._image
        if encoder is None:
            return [None] * len(items)
        wanted = dict.fromkeys(item.image for item in items if item.image and "image" not in item.features)
        outcomes = await self._of_references(encoder, [one for one in wanted if one])
        return [outcomes.get(item.image) if item.image and "image" not in item.features else None for item in items]

    async def _of_references(self, encoder: ContentEncoder, references: Sequence[str]) -> dict[str, Row | Failure]:
        """By reference. A picture at a URL that was encoded before is not fetched again."""
        keys = {reference: await self._of.pictures.known_key(reference) for reference in references}
        known = await encoder.cached(key for key in keys.values() if key is not None)
        found: dict[str, Row | Failure] = {
            reference: known[key] for reference, key in keys.items() if key is not None and key in known
        }
        missing = [reference for reference in references if reference not in found]
        contents = dict(zip(missing, await asyncio.gather(*map(self._content, missing)), strict=True))
        read = {reference: one for reference, one in contents.items() if isinstance(one, bytes)}
        made = await self._found(encoder, {content_key(content): content for content in read.values()})
        found |= {reference: one for reference, one in contents.items() if isinstance(one, Failure)}
        return found | {reference: made[content_key(content)] for reference, content in read.items()}

    async def _content(self, reference: str) -> bytes | Failure:
        try:
            return await self._of.pictures.content(reference)
        except PictureError as error:
            return Failure(str(error), error.may_pass)

    async def _found(self, encoder: ContentEncoder, contents: Mapping[bytes, bytes]) -> dict[bytes, Row | Failure]:
        found: dict[bytes, Row | Failure] = dict(await encoder.cached(contents))
        missing = {key: content for key, content in contents.items() if key not in found}
        return found | await encoder.encode(missing) if missing else found


def encoder_of(encoding: Encoding, bundle: Bundle) -> ItemEncoder | None:
    """What makes features for the bundle; None where it names no encoders.

    Where nothing can be encoded here, the encoder says so of each item.
    """
    if not bundle.manifest.encoders:
        return None
    if encoding.unusable is not None:
        log.warning("items count by ready features only", bundle=bundle.bundle_id, reason=encoding.unusable)
    return ItemEncoder(encoding, bundle.manifest.encoders)
