import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.attribute_types import ATTRIBUTE_TYPES, inferred_types
from index.errors import InputError
from trainer.datasets.shop import generate, read
from trainer.datasets.shop.offers import OFFER_TYPES
from trainer.datasets.shop.paints import PATTERNS, TEXTURES
from trainer.datasets.shop.pen import Pen, Role
from trainer.datasets.shop.people import DAY, NEW_SHARE, NEW_STOCK, OPENING
from trainer.datasets.shop.pictures import SIDE, draw_product
from trainer.datasets.shop.vocabulary import CATEGORIES, FACETS, MATERIALS, PALETTES, PRICES, STYLES, USES
from trainer.encoders import encode_features, image_encoder, text_encoder

MUG = {
    **{"category": "mug", "colour": "navy", "pattern": "plain", "shape": "classic"},
    **{"material": "stoneware", "style": "rustic", "use": "gift", "brand": "Old Mill"},
}


@pytest.fixture(scope="module")
def shop():
    return generate(seed=0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return read(7, tmp_path_factory.mktemp("pictures"), n_items=150, n_users=40, n_interactions=300)


def share_of_neighbours_alike(features: np.ndarray, values: list[str]) -> float:
    """How often an item's nearest other item, by cosine about the mean, has the same value."""
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = cosines.argmax(axis=1)
    return float(np.mean([values[row] == values[other] for row, other in enumerate(nearest)]))


def chance(values: list[str]) -> float:
    _, counts = np.unique(values, return_counts=True)
    return float(((counts / counts.sum()) ** 2).sum())


def facet(source, name: str) -> list[str]:
    return [json.loads(text)[name] for text in source.items["attributes"]]


# One seed, one shop


def test_the_same_seed_gives_the_same_shop_to_the_bit(small, tmp_path):
    again = read(7, tmp_path, n_items=150, n_users=40, n_interactions=300)
    assert again.interactions.equals(small.interactions)
    assert again.items.drop("image").equals(small.items.drop("image"))
    for one, other in zip(again.items["image"], small.items["image"], strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_another_seed_gives_another_shop(small, tmp_path):
    other = read(8, tmp_path, n_items=150, n_users=40, n_interactions=300)
    assert other.items["text"].to_list() != small.items["text"].to_list()
    assert not other.interactions.equals(small.interactions)


@pytest.mark.parametrize(
    ("n_items", "n_users", "n_interactions", "complaint"),
    [
        (100, 10, 49, "at least 5 a user"),
        (0, 10, 50, "at least one user and one item"),
        (20, 10, 60, "at most a quarter"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_drawn(
    tmp_path, n_items, n_users, n_interactions, complaint
):
    with pytest.raises(InputError, match=complaint):
        read(0, tmp_path / "pictures", n_items, n_users, n_interactions)
    assert not (tmp_path / "pictures").exists()


# What is sold


def test_every_product_has_an_id_a_title_a_text_a_picture_and_all_attributes(small):
    items = small.items
    assert items.columns == ["item_id", "title", "category", "text", "image", "attributes"]
    assert items["item_id"].n_unique() == len(items) == 150
    assert set(items["category"]) <= set(FACETS["category"])
    for row in items.iter_rows(named=True):
        assert row["text"].startswith(row["title"] + ". ")
        assert set(json.loads(row["attributes"])) == set(FACETS) - {"category"} | set(OFFER_TYPES)
        assert Path(row["image"]).is_absolute()
        with Image.open(row["image"]) as picture:
            assert picture.size == (SIDE, SIDE)


def test_offers_have_the_types_that_are_recorded_and_vary(small):
    records = [json.loads(text) for text in small.items["attributes"]]
    assert small.attribute_types == inferred_types(records)
    assert set(small.attribute_types.values()) == set(ATTRIBUTE_TYPES)
    assert all(record["price"] > 0 and record["stock"] >= 0 for record in records)
    assert all(record["colours"][0] == record["colour"] for record in records)
    for name in OFFER_TYPES:
        assert len({str(record[name]) for record in records}) > 1, name
    days = [record["released"] for record in records]
    assert days == sorted(days)  # rows are in the order of arrival


def test_every_value_of_every_facet_can_be_drawn_and_said():
    assert set(PATTERNS) == set(FACETS["pattern"])
    assert set().union(*(category.materials for category in CATEGORIES.values())) == set(FACETS["material"])
    assert {material.texture for material in MATERIALS.values()} == set(TEXTURES)
    strokes = [stroke for category in CATEGORIES.values() for stroke in category.strokes]
    assert all(hasattr(Pen, method) and role in Role.__members__ for method, role, *_ in strokes)
    assert all(wording.adjectives and wording.sentences for wording in (*STYLES.values(), *USES.values()))
    assert all(style.names for style in STYLES.values())
    assert set(PRICES) == set(CATEGORIES)


def test_things_are_made_of_what_such_things_are_made_of(shop):
    for row in range(len(shop.catalogue)):
        product = shop.catalogue.product(row)
        assert product["material"] in CATEGORIES[product["category"]].materials


def test_texts_vary_and_leave_the_pattern_to_the_picture(small):
    texts = small.items["text"].to_list()
    assert len(set(texts)) == len(texts)
    said = " ".join(texts).lower()
    assert not any(pattern in said for pattern in set(FACETS["pattern"]) - {"plain"})


@pytest.mark.parametrize("category", FACETS["category"])
@pytest.mark.parametrize("shape", FACETS["shape"])
def test_a_product_fills_a_good_part_of_its_picture_and_stays_inside(category, shape):
    product = {**MUG, "category": category, "shape": shape, "colour": "berry"}
    pixels = np.asarray(draw_product(product, np.random.default_rng(0)), dtype=np.int64)
    bright = pixels.min(axis=2) > 150  # the studio is pale, and so is little of a berry-coloured product
    assert 0.06 < 1 - bright.mean() < 0.75
    assert bright[:3].all()
    assert bright[:, :3].all()


def test_a_picture_has_the_colour_of_its_product():
    middle = [
        np.asarray(draw_product({**MUG, "colour": colour}, np.random.default_rng(0)))[100:120, 65:95].mean(axis=(0, 1))
        for colour in FACETS["colour"]
    ]
    mains = np.array([PALETTES[colour][0] for colour in FACETS["colour"]])
    nearest = np.linalg.norm(np.array(middle)[:, None] - mains[None], axis=2).argmin(axis=1)
    assert nearest.tolist() == list(range(len(mains)))


def test_what_looks_alike_is_alike(small, tmp_path):
    encoder = image_encoder("efficientnet-lite0", "cpu")
    features, missing = encode_features(small.items["image"].to_list(), encoder, cache=tmp_path, batch_size=32)
    assert missing == 0
    category, pattern, style = small.items["category"].to_list(), facet(small, "pattern"), facet(small, "style")
    assert share_of_neighbours_alike(features, category) > 0.9
    assert share_of_neighbours_alike(features, pattern) > chance(pattern) + 0.3
    assert share_of_neighbours_alike(features, style) < chance(style) + 0.15


def test_what_reads_alike_is_alike(small, tmp_path):
    features, _ = encode_features(
        small.items["text"].to_list(), text_encoder("minilm", "cpu"), cache=tmp_path, batch_size=32
    )
    style, pattern = facet(small, "style"), facet(small, "pattern")
    assert share_of_neighbours_alike(features, style) > chance(style) + 0.3
    assert share_of_neighbours_alike(features, pattern) < chance(pattern) + 0.15


# Who buys what


def test_the_shop_has_the_size_that_was_asked_for(shop):
    purchases = shop.purchases
    assert len(purchases.user_rows) == 60_000
    assert np.bincount(purchases.user_rows, minlength=3_000).min() >= 5
    assert len(np.unique(purchases.user_rows * 2_000 + purchases.item_rows)) == 60_000


def test_nothing_is_bought_before_it_arrived_or_by_who_had_not_joined(shop):
    purchases, day = shop.purchases, (shop.purchases.timestamps - OPENING) / DAY
    assert (np.diff(purchases.timestamps) >= 0).all()
    assert (day >= shop.assortment.arrived[purchases.item_rows] - 1e-3).all()
    assert (day >= shop.people.joined[purchases.user_rows] - 1e-3).all()


def test_some_products_sell_far_better_and_the_new_ones_hardly_at_all(shop):
    sold = np.bincount(shop.purchases.item_rows, minlength=2_000)
    n_new = round(NEW_SHARE * 2_000)
    assert sold[-n_new:].max() <= NEW_STOCK
    assert 15 <= np.median(sold) <= 30
    best_tenth = np.sort(sold)[-200:].sum() / sold.sum()
    assert 0.2 < best_tenth < 0.5  # skewed, and yet no chart of hits


def test_tastes_explain_purchases_far_better_than_chance(shop):
    utility = shop.people.utility(shop.catalogue)  # (n_users, n_items)
    bought = utility[shop.purchases.user_rows, shop.purchases.item_rows]
    middle = np.median(utility, axis=1)[shop.purchases.user_rows]
    assert (bought > middle).mean() > 0.9


def test_tastes_rank_each_users_last_purchase_far_above_random(shop):
    purchases, utility = shop.purchases, shop.people.utility(shop.catalogue)
    last = dict(zip(purchases.user_rows.tolist(), purchases.item_rows.tolist(), strict=True))
    places = [(utility[user] > utility[user, item]).sum() for user, item in last.items()]
    among_the_best_5_percent = np.mean(np.array(places) < 100)
    assert among_the_best_5_percent > 0.5
