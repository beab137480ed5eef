"""Renders the sections as one HTML file without external resources."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trainer.analyze.canvas import Chart


@dataclass(frozen=True)
class Table:
    """A table of numbers: a CSV file beside the page; on the page open, folded, or only named."""

    name: str
    """The CSV file is `<name>.csv`."""
    caption: str
    frame: pl.DataFrame
    shown: Literal["open", "folded", "named"] = "open"

    @property
    def headings(self) -> list[tuple[str, bool]]:
        """Column names, and whether the column holds numbers."""
        return [(name, dtype.is_numeric()) for name, dtype in self.frame.schema.items()]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text for the page."""
        return [[as_shown(value) for value in row] for row in self.frame.iter_rows()]


@dataclass(frozen=True)
class Tile:
    """An item with title, picture and notes."""

    title: str
    picture: str | None
    """A data URI."""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """A target, and its nearest items in each run."""

    target: Tile
    neighbours: dict[str, list[Tile]]


@dataclass(frozen=True)
class Section:
    """One heading of the page."""

    anchor: str
    title: str
    seen: str
    """What the charts and tables show."""
    computed: str
    """How it was computed."""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    examples: Sequence[Example] = field(default_factory=list)


def as_shown(value: Any) -> str:
    """A cell as text: four decimals, thousands apart, a dash for nothing."""
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def raised(text: str) -> Markup:
    """h^id as h with a raised id."""
    return Markup(re.sub(r"\^(\w+)", r"<sup>\1</sup>", str(escape(text))))


def render(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The page as HTML. `facts` are the names and values below the title."""
    environment = Environment(
        loader=PackageLoader("trainer.analyze", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["raised"] = raised
    return environment.get_template("page.html").render(title=title, facts=facts, sections=sections)
