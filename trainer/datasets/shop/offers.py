"""What a shop tells of a product beside its looks and words: price, stock, the day of its release, its colours."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from numpy.random import Generator

from index.attribute_types import AttributeType
from trainer.datasets.shop.people import DAY, OPENING
from trainer.datasets.shop.vocabulary import FACETS, PRICES

PRICE_SPREAD = 0.35  # standard deviation of the logarithm of a price
SALE_SHARE, REDUCED = 0.15, 0.75
SOLD_OUT_SHARE, MEAN_STOCK = 0.1, 25
SECOND_COLOUR_SHARE = 0.4

OFFER_TYPES: dict[str, AttributeType] = {
    "price": "number",
    "stock": "number",
    "on_sale": "boolean",
    "released": "time",
    "colours": "list",
}


def offer(product: Mapping[str, str], arrived: float, random: Generator) -> dict[str, Any]:
    """The attributes of OFFER_TYPES of a product that arrived so many days after the shop opened."""
    on_sale = bool(random.random() < SALE_SHARE)
    usual = PRICES[product["category"]] * random.lognormal(0.0, PRICE_SPREAD)
    sold_out = random.random() < SOLD_OUT_SHARE
    stock = 0 if sold_out else int(random.geometric(1 / MEAN_STOCK))
    second = FACETS["colour"][int(random.integers(len(FACETS["colour"])))]
    both = random.random() < SECOND_COLOUR_SHARE
    return {
        "price": round(usual * (REDUCED if on_sale else 1), 2),
        "stock": stock,
        "on_sale": on_sale,
        "released": f"{datetime.fromtimestamp(OPENING + int(arrived * DAY), UTC):%Y-%m-%d}",
        "colours": list(dict.fromkeys([product["colour"], *([second] if both else [])])),
    }
