"""Prints the summary of a prepared dataset."""

from rich.console import Console
from rich.table import Table

from trainer.data import SPLIT_NAMES, DatasetInfo


def print_summary(info: DatasetInfo, console: Console) -> None:
    """Print how the input was read, then sizes, splits, features, and counts of dropped and filled-in values."""
    for note in info.notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    console.print(_table(info))


def _table(info: DatasetInfo) -> Table:
    table = Table("", "count", title=f"dataset {info.name}", title_justify="left", show_header=False)
    table.columns[1].justify = "right"
    _add(table, {"users": info.n_users, "items": info.n_items, "interactions": info.n_interactions})
    table.add_row("density", f"{info.n_interactions / (info.n_users * info.n_items):.3%}", end_section=True)
    _add(table, {name: info.counts[name] for name in SPLIT_NAMES}, end=True)
    for name in ("text", "image", "multimodal"):
        table.add_row(f"{name} features", f"{info.features[name]} wide" if name in info.features else "none")
    table.add_section()
    _add(table, {name: count for name, count in info.counts.items() if name not in SPLIT_NAMES})
    return table


def _add(table: Table, counts: dict[str, int], *, end: bool = False) -> None:
    for name, count in counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    if end:
        table.add_section()
