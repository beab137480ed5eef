"""Remembers the bundle whose sums this service verified last, so that a start with the same files reads none of them.

A file counts as the same where device, inode, size, time of writing and time of change are: the last is set by the
system at every write and rename, and by no program. What changes without a write, a decaying disk, is found by the
sums that the monitor computes at intervals (RECO_BUNDLE_SUMS_HOURS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from index.errors import InputError
from index.frozen_model import FrozenModel
from index.reading import read_json
from index.storage import files_under, replace_file

FILE = "verified.json"  # in the service's own data: what others can write must not vouch for a bundle
SETTLED_NS = 1_000_000_000  # far above the steps of a file system's clock, within which a second write leaves no trace

log = structlog.get_logger()


class FileIdentity(FrozenModel):
    """What tells a file from another, and from itself before a write."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Verified(FrozenModel):
    """A bundle whose sums were right, and the largest norm of its item embeddings, which takes reading all of them."""

    bundle: str
    files: dict[str, FileIdentity]
    largest_norm: float


_VERIFIED = TypeAdapter(Verified)


@dataclass(frozen=True)
class VerifiedFiles:
    """The record in the service's data folder."""

    folder: Path

    def find(self, bundle_id: str, files: dict[str, FileIdentity]) -> Verified | None:
        """The record of exactly these files of the bundle, None where they were not verified."""
        try:
            found = read_json(self.folder / FILE, _VERIFIED, "expected the record of a verified bundle")
        except (InputError, OSError):  # none yet, or damaged: the sums are computed
            return None
        return found if (found.bundle, found.files) == (bundle_id, files) else None

    def remember(self, verified: Verified, now_ns: int) -> None:
        """Record files whose sums were right; its files from before they were read, `now_ns` from then too.

        Not of files that changed just before, and not where the folder cannot be written: then a start reads them.
        """
        if any(one.changed_ns > now_ns - SETTLED_NS for one in verified.files.values()):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.folder / FILE, verified.model_dump_json().encode())
        except OSError as error:
            log.warning("cannot remember a verified bundle; the next start reads it whole", error=str(error))


def identities(folder: Path) -> dict[str, FileIdentity]:
    """The identity of every file of a bundle; OSError where one is missing."""
    return dict(_identities(folder))


def _identities(folder: Path) -> Iterator[tuple[str, FileIdentity]]:
    for name, path in files_under(folder).items():
        found = path.lstat()
        yield (
            name,
            FileIdentity(
                device=found.st_dev,
                inode=found.st_ino,
                size=found.st_size,
                modified_ns=found.st_mtime_ns,
                changed_ns=found.st_ctime_ns,
            ),
        )
