"""Encoders of raw texts and pictures beside the bundles of a registry, shared by all bundles that name them.

encoders/<digest>/encoder.json   what it is, how its input is prepared, and the sha256 of the other files
encoders/<digest>/model.onnx     the network
encoders/<digest>/tokenizer.json the tokenizer of an encoder of texts

The digest is the sha256 of encoder.json, which is written last and removed first: where it is, all files are.
"""

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from index.bundle_store import CARD, BundleStore, WriteConflictError
from index.bundle_store import ENCODERS as FOLDER
from index.errors import BundleError
from index.frozen_model import FrozenModel
from index.manifest import EncoderInfo, Size
from index.storage import files_under, replace_file, sha256_of, temporary_folder
from index.validation import explained

MODEL, TOKENIZER = "model.onnx", "tokenizer.json"
FILES = {"text": {MODEL, TOKENIZER}, "image": {MODEL}}
UNNAMED_FOR = timedelta(days=1)  # after its last export, before an encoder that no bundle names is removed

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Colours = tuple[float, float, float]


class TextInput(FrozenModel):
    """How a text is prepared: it is cut after so many tokens, those that begin and end it included."""

    max_tokens: Size


class PictureInput(FrozenModel):
    """How a picture is prepared: read as index/pictures.py does, squeezed to a square, (value - mean) / std."""

    size: Size
    mean: Colours
    std: Colours
    reading: str  # index.pictures.READING at the time of the export


class EncoderCard(FrozenModel):
    """The contents of `encoder.json`."""

    format: Literal[1] = 1
    kind: Literal["text", "image"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    version: Annotated[str, Field(max_length=200)]
    width: Size
    text: TextInput | None = None
    picture: PictureInput | None = None
    files: dict[str, Digest] = Field(default_factory=dict)

    def is_same(self, kind: str, name: str, version: str) -> bool:
        """Whether it was exported from the trainer's encoder of this kind, name and version."""
        return (self.kind, self.name, self.version) == (kind, name, version)


class Encoders:
    """The encoders of one registry. Methods raise InputError or OSError where the store fails."""

    def __init__(self, store: BundleStore) -> None:
        self._store = store

    def digests(self) -> list[str]:
        """Of all whole encoders."""
        return sorted(self._store.encoders())

    def find(self, kind: str, name: str, version: str) -> EncoderInfo | None:
        """The encoder that was exported from this one before; it is then not removed for another day."""
        for digest in self.digests():
            with suppress(BundleError):
                card = self.card(digest)
                if card.is_same(kind, name, version):
                    self._touch(digest)
                    return _info(card, digest)
        return None

    def card(self, digest: str) -> EncoderCard:
        """Its encoder.json; BundleError where it is missing or damaged."""
        stored = self._store.read(f"{FOLDER}/{digest}/{CARD}")
        if stored is None:
            raise absent(digest)
        return parse_card(stored.data, digest)

    def add(self, card: EncoderCard, fill: Callable[[Path], None]) -> EncoderInfo:
        """Store an encoder whose files, but for encoder.json, `fill` writes into a folder."""
        with temporary_folder(self._store.folder) as folder:
            fill(folder)
            sums = {name: sha256_of(path) for name, path in files_under(folder).items()}
            data = card.model_copy(update={"files": sums}).model_dump_json(indent=2).encode()
            digest = hashlib.sha256(data).hexdigest()
            replace_file(folder / CARD, data)
            self._store.add_encoder(folder, digest)
        return _info(card, digest)

    def fetch(self, digest: str) -> tuple[Path, EncoderCard]:
        """Its local folder, downloaded if need be, and its card; BundleError unless all sums are right."""
        try:
            return self._fetch(digest)
        except BundleError:
            if not self._store.drop_copy(f"{FOLDER}/{digest}"):
                raise
            return self._fetch(digest)  # a damaged copy is downloaded again, once

    def _fetch(self, digest: str) -> tuple[Path, EncoderCard]:
        path = self._store.fetch_encoder(digest)
        if path is None:
            raise absent(digest)
        return path, check_encoder(path, digest)

    def prune(self, named: Collection[str]) -> list[str]:
        """Remove the encoders that are not named and were not exported within a day; returns their digests."""
        oldest = datetime.now(UTC) - UNNAMED_FOR
        doomed = [digest for digest, at in self._store.encoders().items() if digest not in named and at < oldest]
        for digest in doomed:
            self._store.discard_encoder(digest)
        return doomed

    def _touch(self, digest: str) -> None:
        name = f"{FOLDER}/{digest}/{CARD}"
        stored = self._store.read(name)
        if stored is not None:
            with suppress(WriteConflictError):  # another export has just done the same
                self._store.replace(name, stored.data, stored)


def absent(digest: str) -> BundleError:
    """The error of an encoder that a bundle names and its registry lacks."""
    return BundleError(f"the registry has no {FOLDER}/{digest}; `python -m trainer export` writes it")


def parse_card(data: bytes, digest: str) -> EncoderCard:
    """The card of these bytes; BundleError where they are not those of the digest."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{FOLDER}/{digest}/{CARD} has another sum than its folder's name; it was damaged or edited")
    try:
        card = EncoderCard.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(f"{FOLDER}/{digest}/{CARD}: {explained(error)}; a newer trainer wrote it") from error
    if card.files.keys() != FILES[card.kind]:
        raise BundleError(f"{FOLDER}/{digest}: files {', '.join(card.files)}; expected {', '.join(FILES[card.kind])}")
    return card


def check_encoder(path: Path, digest: str) -> EncoderCard:
    """The card of an encoder's folder, all of whose sums are right; BundleError else."""
    try:
        card = parse_card((path / CARD).read_bytes(), digest)
        found = {name: sha256_of(path / name) for name in card.files}
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror or error}); expected an encoder") from error
    if wrong := sorted(name for name, digest_of in card.files.items() if found[name] != digest_of):
        raise BundleError(f"{path}: {', '.join(wrong)} is damaged or edited; remove {path} and export again")
    return card


def _info(card: EncoderCard, digest: str) -> EncoderInfo:
    return EncoderInfo(name=card.name, version=card.version, width=card.width, digest=digest)
