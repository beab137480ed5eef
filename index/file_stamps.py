"""Whether the files of an open bundle are still what they were: a look at their stats, which costs nothing.

A bundle never changes, so whatever changed is damage. A file that was cut short under a memory map is more than wrong
answers: touching what is gone ends the process (SIGBUS), and no code of ours can catch that.
"""

from dataclasses import dataclass
from pathlib import Path

from index.storage import files_under


@dataclass(frozen=True)
class Stamp:
    """What of a file changes when the file does."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """As the file is now; OSError where it is gone."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True)
class Seal:
    """The stamps of a bundle's files when it was opened."""

    folder: Path
    stamps: dict[str, Stamp]

    @classmethod
    def of(cls, folder: Path) -> "Seal":
        """Of all files in a bundle's folder: taken before it is opened, so that nothing changes unseen in between."""
        return cls(folder, {name: Stamp.of(path) for name, path in files_under(folder).items()})

    def breaks(self) -> list[str]:
        """What is no longer as it was, one phrase a file."""
        return [f"{name} {told}" for name, stamp in self.stamps.items() if (told := self._change(name, stamp))]

    def _change(self, name: str, old: Stamp) -> str:
        try:
            new = Stamp.of(self.folder / name)
        except OSError as error:
            return f"is gone ({error.strerror})"
        if new.size != old.size:
            return f"has {new.size} bytes, had {old.size}"
        if new.inode != old.inode:
            return "is another file"
        return "was written to" if new.modified_ns != old.modified_ns else ""
