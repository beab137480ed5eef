"""The vocabulary of the demo shop, read from shop.toml: the values of every facet, and how each looks and reads."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Colour = Sequence[int]  # red, green, blue


@dataclass(frozen=True)
class Category:
    """A kind of product: what it can be made of, and how it is drawn."""

    materials: Sequence[str]
    strokes: Sequence[Sequence[Any]]
    """Calls of the pen: method, role, arguments."""
    is_round: bool = False
    """Lit as a cylinder."""
    hangs: bool = False
    """On a wall, without a shadow on the floor."""


@dataclass(frozen=True)
class Material:
    """A material's colour, the texture of its surface, and sentences about it."""

    colour: Colour
    texture: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Wording:
    """The words for a style or a use; product names come from the style."""

    adjectives: Sequence[str]
    sentences: Sequence[str]
    names: Sequence[str] = ()


_FILE = tomllib.loads((Path(__file__).parent / "shop.toml").read_text(encoding="utf-8"))

CATEGORIES = {name: Category(**entry) for name, entry in _FILE["categories"].items()}
MATERIALS = {name: Material(**entry) for name, entry in _FILE["materials"].items()}
STYLES = {name: Wording(**entry) for name, entry in _FILE["styles"].items()}
USES = {name: Wording(**entry) for name, entry in _FILE["uses"].items()}
PALETTES: Mapping[str, tuple[Colour, Colour, Colour]] = _FILE["colours"]
"""Main, second and light colour of each colour family."""
PRICES: Mapping[str, float] = _FILE["prices"]
"""A usual price of each category."""
PROPORTIONS: Mapping[str, tuple[float, float]] = _FILE["shapes"]
"""Relative width and height of each shape."""
FACETS: Mapping[str, tuple[str, ...]] = {
    "category": tuple(CATEGORIES),
    "colour": tuple(PALETTES),
    "pattern": tuple(_FILE["patterns"]),
    "shape": tuple(PROPORTIONS),
    "material": tuple(sorted(MATERIALS)),
    "style": tuple(STYLES),
    "use": tuple(USES),
    "brand": tuple(_FILE["brands"]),
}
"""Every facet's values; a product has one of each. Looks show in its picture; style, use and material in its text."""
