"""Detects changed files of an open bundle by their size, inode and modification time, without reading them.

A bundle never changes, so any change is damage. A truncated file under a memory map is worse than wrong results:
reading a page that no longer exists ends the process with SIGBUS, which cannot be caught.
"""

from dataclasses import dataclass
from pathlib import Path

from index.storage import files_under


@dataclass(frozen=True)
class FileStamp:
    """The size, modification time and inode of a file."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "FileStamp":
        """Stat the file; OSError where it is missing."""
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True)
class FileStamps:
    """The stamps of all files of a bundle at the time it was opened."""

    folder: Path
    stamps: dict[str, FileStamp]

    @classmethod
    def of(cls, folder: Path) -> "FileStamps":
        """Stamp all files of a bundle's folder; call it before opening the bundle, to miss no change in between."""
        return cls(folder, {name: FileStamp.of(path) for name, path in files_under(folder).items()})

    def changed_files(self) -> list[str]:
        """One phrase for each file that differs from its stamp, such as "fold_in.npy has 12 bytes, had 24"."""
        return [f"{name} {change}" for name, stamp in self.stamps.items() if (change := self._change(name, stamp))]

    def _change(self, name: str, old: FileStamp) -> str:
        try:
            new = FileStamp.of(self.folder / name)
        except OSError as error:
            return f"is gone ({error.strerror})"
        if new.size != old.size:
            return f"has {new.size} bytes, had {old.size}"
        if new.inode != old.inode:
            return "is another file"
        return "was written to" if new.modified_ns != old.modified_ns else ""
