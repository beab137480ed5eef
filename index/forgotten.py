"""People who were forgotten, told by a keyed hash of their id, so that the id itself need not be stored.

An element is `key:<hex>`, a key of the hashes, or `<hash>.<position>.<receipt>`: a person, the position in the event
log up to which events are theirs, and the receipt of the forgetting. A person may be forgotten several times.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from index.errors import InputError
from index.reading import read_document, reason

KEY = re.compile(r"key:([0-9a-f]{32})")
PERSON = re.compile(r"([0-9a-f]{32})\.(\d{1,16})\.([A-Za-z0-9-]{1,64})")
HASH_BYTES = 16
FIELD = "forgotten"  # of the file


class Forgetting(NamedTuple):
    """One time that a person was forgotten."""

    until: int  # events after this position are of a new person
    receipt: str


@dataclass(frozen=True)
class ForgottenPeople:
    """What a set of elements says; elements of another shape, which other programs may write, are ignored."""

    keys: tuple[bytes, ...] = ()
    by_hash: Mapping[str, tuple[Forgetting, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, elements: Iterable[str]) -> "ForgottenPeople":
        keys: list[bytes] = []
        by_hash: dict[str, tuple[Forgetting, ...]] = {}
        for element in sorted(elements):
            if key := KEY.fullmatch(element):
                keys.append(bytes.fromhex(key[1]))
            elif person := PERSON.fullmatch(element):
                found = Forgetting(int(person[2]), person[3])
                by_hash[person[1]] = (*by_hash.get(person[1], ()), found)
        return cls(tuple(keys), by_hash)

    @cached_property
    def receipts(self) -> frozenset[str]:
        """The receipts of all forgettings."""
        return frozenset(one.receipt for times in self.by_hash.values() for one in times)

    def times(self, user_id: str) -> list[Forgetting]:
        """When this person was forgotten; empty for one who was not."""
        if not self.by_hash:
            return []
        hashes = (person_hash(user_id, key) for key in self.keys)
        return [one for hashed in hashes for one in self.by_hash.get(hashed, ())]

    def positions(self, user_ids: Iterable[str]) -> dict[str, int]:
        """Of those of these people who were forgotten: the position up to which events are to be left out."""
        times = {user_id: self.times(user_id) for user_id in user_ids} if self.by_hash else {}
        return {user_id: max(one.until for one in found) for user_id, found in times.items() if found}


def person_hash(user_id: str, key: bytes) -> str:
    """The keyed hash of an id."""
    return hashlib.blake2b(user_id.encode(errors="surrogatepass"), digest_size=HASH_BYTES, key=key).hexdigest()


def forgotten_file(elements: Iterable[str]) -> bytes:
    """The content of the file that `trainer retrain --forget` reads."""
    return json.dumps({FIELD: sorted(elements)}, indent=1).encode()


def read_forgotten(path: Path) -> ForgottenPeople:
    """The people of such a file; InputError where it is none."""
    try:
        elements = json.loads(read_document(path))[FIELD]
        if not isinstance(elements, list) or not all(isinstance(one, str) for one in elements):
            raise ValueError(f"{FIELD} is no list of texts")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as forgotten people ({reason(error)}); expected {{{FIELD!r}: [...]}}"
        ) from error
    if wrong := [one for one in elements if not (KEY.fullmatch(one) or PERSON.fullmatch(one))]:
        raise InputError(f"{path}: found {wrong[0]!r:.80} among forgotten people, expected key:HEX or HASH.N.RECEIPT")
    return ForgottenPeople.of(elements)
