"""Writes the title of a product, and a description of what its picture does not show."""

from collections.abc import Mapping, Sequence

from numpy.random import Generator

from trainer.datasets.shop.vocabulary import MATERIALS, STYLES, USES

COLOUR_IN_TITLE = 0.25  # otherwise the picture alone shows it
USE_IN_TITLE = 0.3  # in place of the style
MATERIAL_IN_TEXT = 0.7
BRAND_IN_TEXT = 0.4


BRANDS = (
    "A {brand} classic.",
    "From the {brand} workshop.",
    "Another favourite by {brand}.",
    "{brand} has made it in small batches for years.",
)
OPENINGS = (
    "Think {adjective}, think {category}, think {material}.",
    "The {adjective} {category}, made of {material}.",
    "This {category} is {adjective} without trying.",
    "Meet {name}, our {adjective} {category}.",
    "{name} is the {adjective} {category} we wanted for ourselves.",
)


def title_and_description(product: Mapping[str, str], random: Generator) -> tuple[str, str]:
    """A title such as "Old Mill Orchard Rustic Oak Chair", and a few sentences."""
    name = _one(random, STYLES[product["style"]].names)
    return _title(product, name, random), _description(product, name, random)


def _title(product: Mapping[str, str], name: str, random: Generator) -> str:
    wording = USES[product["use"]] if random.random() < USE_IN_TITLE else STYLES[product["style"]]
    colour = [product["colour"]] if random.random() < COLOUR_IN_TITLE else []
    words = [_one(random, wording.adjectives), *colour, product["material"], product["category"]]
    return " ".join([product["brand"], name, *map(_capital, words)])


def _description(product: Mapping[str, str], name: str, random: Generator) -> str:
    """An opening, then in any order what it is like, what it is for, and often of what and by whom it is made."""
    style = STYLES[product["style"]]
    opening = _one(random, OPENINGS).format(
        adjective=_one(random, style.adjectives), category=product["category"], material=product["material"], name=name
    )
    sentences = [_one(random, style.sentences), _one(random, USES[product["use"]].sentences)]
    if random.random() < MATERIAL_IN_TEXT:
        sentences.append(_one(random, MATERIALS[product["material"]].sentences))
    if random.random() < BRAND_IN_TEXT:
        sentences.append(_one(random, BRANDS).format(brand=product["brand"]))
    random.shuffle(sentences)
    return " ".join([opening, *sentences])


def _one(random: Generator, choice: Sequence[str]) -> str:
    return choice[int(random.integers(len(choice)))]


def _capital(word: str) -> str:
    return " ".join(part[:1].upper() + part[1:] for part in word.split())
