"""The demo shop as a data source, generated from a seed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.random import Generator

from index.attribute_types import AttributeType
from index.errors import InputError
from trainer.data import Source
from trainer.datasets.shop.catalogue import ShopCatalogue, draw_catalogue
from trainer.datasets.shop.offers import OFFER_TYPES, offer
from trainer.datasets.shop.people import Assortment, People, Purchases, buy, draw_assortment, draw_people
from trainer.datasets.shop.pictures import draw_product
from trainer.datasets.shop.vocabulary import FACETS
from trainer.datasets.shop.words import title_and_description
from trainer.progress import track

LEAST_PURCHASES = 5  # by each user: enough for a training, a validation and a test part
PAINTERS = 4  # threads that draw
JPEG_QUALITY = 92


@dataclass(frozen=True)
class GeneratedShop:
    """The generated shop with its ground truth, the tastes of its users, which the dataset does not contain."""

    catalogue: ShopCatalogue
    assortment: Assortment
    people: People
    purchases: Purchases


def generate(seed: int, n_items: int = 2_000, n_users: int = 3_000, n_interactions: int = 60_000) -> GeneratedShop:
    """Products, people and what they bought; the same seed gives the same shop to the bit.

    InputError when the purchases do not suffice for LEAST_PURCHASES by each user, or would use up the catalogue.
    """
    _check(n_items, n_users, n_interactions)
    catalogue_random, shelf_random, people_random, market_random = np.random.default_rng(seed).spawn(4)
    catalogue = draw_catalogue(catalogue_random, n_items)
    assortment = draw_assortment(shelf_random, n_items)
    people = draw_people(people_random, n_users, n_interactions, LEAST_PURCHASES)
    return GeneratedShop(catalogue, assortment, people, buy(market_random, people, catalogue, assortment))


def read(
    seed: int,
    image_folder: Path,
    n_items: int = 2_000,
    n_users: int = 3_000,
    n_interactions: int = 60_000,
) -> Source:
    """Generate the shop and draw its pictures, <item_id>.jpg, into `image_folder`."""
    shop = generate(seed, n_items, n_users, n_interactions)
    item_ids = _item_ids(shop.catalogue)
    images = _draw(seed, shop.catalogue, item_ids, image_folder)
    items = _items(seed, shop, item_ids, images)
    purchases = shop.purchases
    interactions = pl.DataFrame(
        {
            "user_id": [f"u{row + 1:04}" for row in purchases.user_rows.tolist()],
            "item_id": [item_ids[row] for row in purchases.item_rows.tolist()],
            "timestamp": purchases.timestamps,
        }
    )
    n_new = int((np.bincount(purchases.item_rows, minlength=n_items) < LEAST_PURCHASES).sum())
    options = {"seed": seed, "n_items": n_items, "n_users": n_users, "n_interactions": n_interactions}
    types: dict[str, AttributeType] = {facet: "string" for facet in FACETS if facet != "category"}
    return Source(
        "shop",
        interactions,
        items,
        options=options,
        counts={"items_with_few_interactions": n_new},
        attribute_types=types | OFFER_TYPES,
    )


def _check(n_items: int, n_users: int, n_interactions: int) -> None:
    if min(n_items, n_users) < 1 or n_interactions < LEAST_PURCHASES * n_users:
        raise InputError(
            f"found {n_interactions:,} interactions for {n_users:,} users and {n_items:,} items;"
            f" expected at least {LEAST_PURCHASES} a user, and at least one user and one item"
        )
    if 4 * n_interactions > n_users * n_items:
        raise InputError(
            f"found {n_interactions:,} interactions; expected at most a quarter of"
            f" {n_users:,} users times {n_items:,} items, because no user buys an item twice"
        )


def _item_ids(catalogue: ShopCatalogue) -> list[str]:
    categories = (catalogue.product(row)["category"] for row in range(len(catalogue)))
    return [f"{category.replace(' ', '-')}-{row + 1:04}" for row, category in enumerate(categories)]


def _own_random(seed: int, what: int, row: int) -> Generator:
    """A generator for each product, so that its picture does not depend on the order in which threads draw."""
    return np.random.default_rng([seed, what, row])


def _draw(seed: int, catalogue: ShopCatalogue, item_ids: list[str], image_folder: Path) -> list[str]:
    image_folder.mkdir(parents=True, exist_ok=True)
    paths = [image_folder.absolute() / f"{item_id}.jpg" for item_id in item_ids]

    def draw(row: int) -> str:
        draw_product(catalogue.product(row), _own_random(seed, 0, row)).save(paths[row], quality=JPEG_QUALITY)
        return str(paths[row])

    with ThreadPoolExecutor(PAINTERS) as painters:
        return list(track(painters.map(draw, range(len(paths))), "drawing products", total=len(paths)))


def _items(seed: int, shop: GeneratedShop, item_ids: list[str], images: list[str]) -> pl.DataFrame:
    products = [shop.catalogue.product(row) for row in range(len(shop.catalogue))]
    worded = [title_and_description(product, _own_random(seed, 1, row)) for row, product in enumerate(products)]
    return pl.DataFrame(
        {
            "item_id": item_ids,
            "title": [title for title, _ in worded],
            "category": [product["category"] for product in products],
            "text": [f"{title}. {description}" for title, description in worded],
            "image": images,
            "attributes": [json.dumps(_attributes(seed, shop, row, product)) for row, product in enumerate(products)],
        }
    )


def _attributes(seed: int, shop: GeneratedShop, row: int, product: dict[str, str]) -> dict[str, Any]:
    facets = {facet: value for facet, value in product.items() if facet != "category"}
    return facets | offer(product, float(shop.assortment.arrived[row]), _own_random(seed, 2, row))
