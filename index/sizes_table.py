"""What a bundle's files take, by kind: bytes in all, for an item, for a user, and whether they are memory-mapped."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from index.manifest import INDEX, Manifest

MAPPED = "mapped: the system holds what is read and can drop it"
INDEX_HELD = "mapped where FAISS can (flat and IVF lists), else in memory"

# By the beginning of a file's name: what the file is counted as, and whether it grows with items or users.
_KINDS = {
    "item_embeddings": ("item vectors", "item"),
    "item_parts/": ("parts", "item"),
    "fold_in": ("fold-in", "item"),
    "index/": ("index", "item"),
    "item_ids/": ("item ids", "item"),
    "items/": ("metadata", "item"),
    "neighbours": ("neighbours", "item"),  # with the projections that give them
    "popularity/": ("popularity", "item"),
    "anchor/": ("anchor", "item"),
    "map/": ("map", "item"),
    "seen/item_": ("seen, by item", "item"),
    "user_embeddings": ("user vectors", "user"),
    "user_own": ("own terms", "user"),
    "user_ids/": ("user ids", "user"),
    "seen/user_": ("seen, by user", "user"),
}


@dataclass(frozen=True)
class KindSize:
    """The bytes of all files of one kind, and of which of "item" and "user" there are `n` rows."""

    kind: str
    n_bytes: int
    rows_of: str
    n: int

    @property
    def bytes_a_row(self) -> float:
        return self.n_bytes / self.n


def sizes_by_kind(path: Path, manifest: Manifest) -> list[KindSize]:
    """The size of each kind of file, items first; a table's scales are counted with it."""
    found: dict[tuple[str, str], int] = {}
    for name in manifest.files:
        kind = _kind(name.removeprefix("scales/"))
        found[kind] = found.get(kind, 0) + (path / name).stat().st_size
    rows = {"item": manifest.n_items, "user": manifest.n_users}
    kinds = [kind for kind in _KINDS.values() if kind in found]
    return [KindSize(name, found[name, of], of, rows[of]) for name, of in kinds]


def sizes_table(path: Path, manifest: Manifest) -> Table:
    """A row for each kind of file, and the sums."""
    table = Table("files", title="bytes", title_justify="left")
    for name in ("bytes", "an item", "a user"):
        table.add_column(name, justify="right")
    table.add_column("while open", overflow="fold")
    sizes = sizes_by_kind(path, manifest)
    for one in sizes:
        each = f"{one.bytes_a_row:,.1f}"
        held = INDEX_HELD if one.kind == _kind(INDEX)[0] else MAPPED
        table.add_row(
            one.kind, f"{one.n_bytes:,}", each * (one.rows_of == "item"), each * (one.rows_of == "user"), held
        )
    sums = {of: sum(one.bytes_a_row for one in sizes if one.rows_of == of) for of in ("item", "user")}
    table.add_row("all", f"{sum(one.n_bytes for one in sizes):,}", *(f"{total:,.1f}" for total in sums.values()), "")
    return table


def _kind(file: str) -> tuple[str, str]:
    return next(kind for beginning, kind in _KINDS.items() if file.startswith(beginning))
