"""Draws the products of the demo shop from its vocabulary."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainer.datasets.shop.vocabulary import CATEGORIES, FACETS

BRAND_LOYALTY = 0.6  # share of products that keep to their brand's own style and colours
N_BRAND_COLOURS = 3
N_BRAND_STYLES = 2


@dataclass(frozen=True)
class ShopCatalogue:
    """Products in columns: `codes[facet][row]` is the place of the product's value in FACETS[facet]."""

    codes: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.codes["category"])

    def product(self, row: int) -> dict[str, str]:
        """The product's facets by name."""
        return {facet: values[self.codes[facet][row]] for facet, values in FACETS.items()}


def draw_catalogue(random: Generator, n_items: int) -> ShopCatalogue:
    """Draw products; each brand has some styles and colours of its own, which most of its products keep to."""
    sizes = {facet: len(values) for facet, values in FACETS.items()}
    brand = random.choice(sizes["brand"], n_items, p=_zipf(sizes["brand"], 0.6))
    category = random.integers(sizes["category"], size=n_items)
    codes = {
        "category": category,
        "colour": _brand_values(random, brand, sizes["brand"], sizes["colour"], N_BRAND_COLOURS),
        "pattern": random.choice(sizes["pattern"], n_items, p=_zipf(sizes["pattern"], 0.4)),
        "shape": random.integers(sizes["shape"], size=n_items),
        "material": np.array([_material(random, value) for value in category], dtype=np.int64),
        "style": _brand_values(random, brand, sizes["brand"], sizes["style"], N_BRAND_STYLES),
        "use": random.integers(sizes["use"], size=n_items),
        "brand": brand,
    }
    return ShopCatalogue({facet: codes[facet].astype(np.int64) for facet in FACETS})


def _zipf(n: int, exponent: float) -> NDArray[np.float64]:
    weights = np.arange(1, n + 1) ** -exponent
    return np.asarray(weights / weights.sum())


def _brand_values(
    random: Generator, brand: NDArray[np.int64], n_brands: int, n_values: int, n_own: int
) -> NDArray[np.int64]:
    own = np.array([random.choice(n_values, n_own, replace=False) for _ in range(n_brands)])  # (n_brands, n_own)
    loyal = random.random(len(brand)) < BRAND_LOYALTY
    return np.where(
        loyal, own[brand, random.integers(n_own, size=len(brand))], random.integers(n_values, size=len(brand))
    )


def _material(random: Generator, category: int) -> int:
    choice = CATEGORIES[FACETS["category"][category]].materials
    return FACETS["material"].index(choice[int(random.integers(len(choice)))])
