"""The drawn picture of a product: its outline, filled with colour, pattern and material, in its brand's light."""

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainer.datasets.shop.paints import PHASES, pattern, texture
from trainer.datasets.shop.pen import CANVAS, Pen, Role
from trainer.datasets.shop.vocabulary import CATEGORIES, FACETS, MATERIALS, PALETTES, PROPORTIONS, Colour

SIDE = 160  # pixels of the finished picture
STUDIOS = ((244, 240, 232), (232, 238, 242), (242, 232, 228), (234, 240, 230), (238, 234, 244), (246, 238, 214))
FLOOR = 0.86  # where a standing product's foot is
TAG_LEFT, TAG_RIGHT = 0.83, 0.965
SIGNS = ((3, 0), (4, 0), (6, 0), (4, 45), (3, 180), None)  # sides and turn of a polygon, or a disc
INKS = ((196, 62, 52), (34, 70, 110), (56, 104, 66))
LEAF = (84, 138, 82)
PAINTED = frozenset({Role.LIGHT, Role.DARK, Role.GREEN})  # never made of the product's material
INK = 0.45  # brightness of outlines against what they surround
INK_WIDTH = 3  # canvas pixels

Pixels = NDArray[np.float32]  # (CANVAS, CANVAS, 3) in 0..255


def draw_product(product: Mapping[str, str], random: Generator) -> Image.Image:
    """The picture of a product (its value in every facet), SIDE pixels a side; small accidents are random."""
    hangs = CATEGORIES[product["category"]].hangs
    brand = FACETS["brand"].index(product["brand"])
    roles = _roles(product, random, hangs)
    canvas = _backdrop(brand % len(STUDIOS), hangs).copy()
    _fill(canvas, roles, product, random)
    canvas[_outline(roles)] *= INK
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    _hang_tag(picture, brand)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def _roles(product: Mapping[str, str], random: Generator, hangs: bool) -> NDArray[np.uint8]:
    wide, tall = PROPORTIONS[product["shape"]]
    pen = Pen(wide * random.uniform(0.97, 1.03), tall * random.uniform(0.97, 1.03))
    for method, role, *arguments in CATEGORIES[product["category"]].strokes:
        getattr(pen, method)(Role[role], *arguments)
    roles = pen.roles()
    if hangs:
        return roles
    foot = int(np.flatnonzero(roles.any(axis=1))[-1])
    return np.roll(roles, round(FLOOR * CANVAS) - foot, axis=0)


def _fill(canvas: Pixels, roles: NDArray[np.uint8], product: Mapping[str, str], random: Generator) -> None:
    main, second, light = (_jittered(colour, random) for colour in PALETTES[product["colour"]])
    solid = {
        Role.TRIM: second,
        Role.DARK: np.float32(0.35) * main,
        Role.LIGHT: light,
        Role.MATERIAL: _jittered(MATERIALS[product["material"]].colour, random),
        Role.GREEN: _jittered(LEAF, random),
    }
    light_falls = _light(CATEGORIES[product["category"]].is_round)
    surface = texture(product["material"]) * light_falls
    for role, colour in solid.items():
        where = roles == role
        canvas[where] = colour * (light_falls if role in PAINTED else surface)[where][:, None]
    body = roles == Role.BODY
    in_second, in_light = (mask[body][:, None] for mask in pattern(product["pattern"], int(random.integers(PHASES))))
    canvas[body] = (main + in_second * (second - main) + in_light * (light - main)) * surface[body][:, None]


def _jittered(colour: Colour, random: Generator) -> Pixels:
    return np.clip(np.array(colour) + random.normal(0, 5, 3), 0, 255).astype(np.float32)


@cache
def _light(is_round: bool) -> NDArray[np.float32]:
    """Light from the upper left: a factor (CANVAS, CANVAS), turning away at the sides of round bodies."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS
    light = 1.12 - 2.6 * (x - 0.42) ** 2 - 0.12 * y if is_round else 1.1 - 0.1 * x - 0.14 * y
    return np.asarray(light, dtype=np.float32)


def _outline(roles: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels whose right, lower or lower right neighbour, one or two pixels on, has another role."""
    edge = np.zeros(roles.shape, dtype=np.bool_)
    for step in range(1, INK_WIDTH):
        edge[:-step] |= roles[:-step] != roles[step:]
        edge[:, :-step] |= roles[:, :-step] != roles[:, step:]
    return edge


@cache
def _backdrop(studio: int, on_the_wall: bool) -> Pixels:
    """The studio that the brand's pictures are taken in, with the product's shadow on wall or floor."""
    colour = np.array(STUDIOS[studio], dtype=np.float32)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS
    vignette = 1.02 - 0.16 * ((x - 0.5) ** 2 + (y - 0.45) ** 2)
    floor = np.where(y > 0.74, 0.955, 1.0) if not on_the_wall else np.ones_like(y)
    centre, rx, ry, depth = (0.53, 0.36, 0.36, 0.16) if on_the_wall else (FLOOR, 0.32, 0.05, 0.34)
    shadow = 1 - depth * np.exp(-((((x - 0.52) / rx) ** 2 + ((y - centre) / ry) ** 2) ** 2))
    return np.asarray(colour * (vignette * floor * shadow)[:, :, None], dtype=np.float32)


def _hang_tag(picture: Image.Image, brand: int) -> None:
    """The brand's mark, one of six signs in one of three colours, on a paper tag in the corner."""
    draw, (sign, colour) = ImageDraw.Draw(picture), (SIGNS[brand % len(SIGNS)], INKS[brand // len(SIGNS) % len(INKS)])
    left, right, middle, r = TAG_LEFT * CANVAS, TAG_RIGHT * CANVAS, (TAG_LEFT + TAG_RIGHT) / 2 * CANVAS, 0.042 * CANVAS
    draw.rounded_rectangle([left, left, right, right], 8, fill=(255, 253, 246), outline=(150, 140, 128), width=2)
    if sign is None:
        draw.ellipse([middle - r, middle - r, middle + r, middle + r], fill=colour)
    else:
        sides, turn = sign
        draw.regular_polygon((middle, middle, r), sides, rotation=turn, fill=colour)
