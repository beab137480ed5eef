"""Prints the attributes of prepared items: of what type they are, how many items have them, and an example."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from index.attribute_types import AttributeType

SHOWN = 40  # characters of a name and of an example
MOST = 64  # attributes that are printed; the service filters by as many
SEVERAL = "several: shown, no filter"


@dataclass
class AttributeUse:
    """How many items have an attribute, and the value of the first of them."""

    items: int
    example: Any


def attribute_use(records: Iterable[str]) -> dict[str, AttributeUse]:
    """The use of each attribute by name, in order of appearance, out of one JSON object an item."""
    uses: dict[str, AttributeUse] = {}
    for record in records:
        for name, value in json.loads(record).items():
            uses.setdefault(name, AttributeUse(0, value)).items += 1
    return uses


def print_attributes(records: Iterable[str], types: Mapping[str, AttributeType], console: Console) -> None:
    """Print a table of the attributes of the items, nothing where they have none."""
    texts = list(records)
    uses = attribute_use(texts)
    if not uses:
        return
    table = Table("attribute", "type", title="attributes", title_justify="left")
    table.add_column("items", justify="right")
    table.add_column("example")
    for name, use in list(uses.items())[:MOST]:
        example = json.dumps(use.example, ensure_ascii=False)
        table.add_row(_cut(name), types.get(name, SEVERAL), f"{use.items / len(texts):.1%}", _cut(example))
    if len(uses) > MOST:
        table.caption = f"and {len(uses) - MOST:,} more"
    console.print(table, markup=False)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
