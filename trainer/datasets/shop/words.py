"""The wording of a product: a title, and a description that says what no picture shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

COLOUR_IN_TITLE = 0.25  # mostly the picture says it
USE_IN_TITLE = 0.3  # in place of the style
MATERIAL_IN_TEXT = 0.7
BRAND_IN_TEXT = 0.4


@dataclass(frozen=True)
class Words:
    """How a shop speaks of one value of a facet."""

    adjectives: tuple[str, ...]
    sentences: tuple[str, ...]


NAMES: Mapping[str, Sequence[str]] = {
    "Scandinavian": ("Alva", "Saga", "Linnea", "Freja", "Nils", "Solveig", "Sund"),
    "rustic": ("Barn", "Orchard", "Harvest", "Hollow", "Thatch", "Meadow", "Mill"),
    "mid-century": ("Elm Street", "Palm Springs", "Atomic", "Walden", "Pasadena", "Orbit", "Teak"),
    "bohemian": ("Marrakesh", "Paisley", "Zahra", "Indira", "Nomad", "Caravan", "Saffron"),
    "industrial": ("Foundry", "Rivet", "Loft", "Gasworks", "Depot", "Forge", "Warehouse"),
    "coastal": ("Harbour", "Pier", "Driftwood", "Lighthouse", "Shell Bay", "Regatta", "Dune"),
    "Japanese": ("Kumo", "Hana", "Sora", "Nagoya", "Mori", "Tsuki", "Kyo"),
    "retro": ("Diner", "Jukebox", "Seventy-Two", "Disco", "Roller", "Mixtape", "Snapshot"),
    "botanical": ("Fernery", "Kew", "Herbarium", "Clover", "Arboretum", "Sprig", "Moss"),
    "romantic": ("Giselle", "Rosalie", "Sonnet", "Amelie", "Serenade", "Violette", "Camille"),
}
STYLES: Mapping[str, Words] = {
    "Scandinavian": Words(
        ("Scandinavian", "Nordic", "hygge"),
        (
            "Clean Nordic lines keep it calm and bright.",
            "Designed in the Scandinavian tradition: light, honest, nothing superfluous.",
            "It brings a little hygge to long winters in the north.",
        ),
    ),
    "rustic": Words(
        ("rustic", "farmhouse", "country"),
        (
            "It looks as though it had always lived in a farmhouse kitchen.",
            "Rough at the edges and warm at heart, in the country manner.",
            "Rustic charm that only gets better with wear.",
        ),
    ),
    "mid-century": Words(
        ("mid-century", "modernist", "fifties"),
        (
            "Its tapered silhouette is borrowed from the modernists of the fifties.",
            "Mid-century modern through and through.",
            "It would be at home in an architect's house of 1958.",
        ),
    ),
    "bohemian": Words(
        ("bohemian", "boho", "free-spirited"),
        (
            "Layer it with what you found on your travels: boho has no rules.",
            "Free-spirited and a little wild, like a bazaar at dusk.",
            "A bohemian piece for people who never match anything.",
        ),
    ),
    "industrial": Words(
        ("industrial", "workshop", "factory"),
        (
            "Inspired by factory floors and exposed brick.",
            "Industrial, robust, without ornament.",
            "It belongs in a loft with iron beams and big windows.",
        ),
    ),
    "coastal": Words(
        ("coastal", "seaside", "nautical"),
        (
            "Salt air, bleached wood, the sound of gulls: it brings the seaside home.",
            "A nautical note for people who miss the ocean.",
            "Made for a cottage by the sea, or for dreaming of one.",
        ),
    ),
    "Japanese": Words(
        ("Japanese", "wabi-sabi", "zen"),
        (
            "Wabi-sabi: the small imperfection is the point.",
            "Japanese restraint, with room for silence around it.",
            "A quiet, zen-like object, made with a tea master's patience.",
        ),
    ),
    "retro": Words(
        ("retro", "vintage", "seventies"),
        (
            "Straight out of a seventies living room, in the best sense.",
            "A retro favourite with a wink to roller discos and jukeboxes.",
            "Vintage in spirit, brand new in fact.",
        ),
    ),
    "botanical": Words(
        ("botanical", "garden", "herbarium"),
        (
            "Drawn from old herbarium sheets and greenhouse afternoons.",
            "For plant lovers whose windowsills are already full.",
            "Botanical at heart: it wants to stand among ferns.",
        ),
    ),
    "romantic": Words(
        ("romantic", "delicate", "Parisian"),
        (
            "Soft, delicate and a little in love, like a morning in Paris.",
            "A romantic piece for handwritten letters and fresh peonies.",
            "It has the grace of a ballet dancer's wardrobe.",
        ),
    ),
}
USES: Mapping[str, Words] = {
    "gift": Words(
        ("gift-boxed",),
        (
            "It comes gift-wrapped, ready for birthdays and weddings.",
            "The present that is never returned.",
            "Add a card at checkout and surprise a friend.",
        ),
    ),
    "travel": Words(
        ("travel",),
        (
            "Light enough for a suitcase, tough enough for the airport.",
            "Takes to trains, planes and hostels without complaint.",
            "Pack it for the weekend trip; it asks for little room.",
        ),
    ),
    "office": Words(
        ("desk",),
        (
            "Meant for desks, meetings and the daily commute.",
            "It makes the office feel less like one.",
            "A professional touch for the working week.",
        ),
    ),
    "children": Words(
        ("kids'",),
        (
            "Approved by toddlers, with rounded edges and no small parts.",
            "For the nursery, and for children who drop things.",
            "Kids love it, and it survives playtime.",
        ),
    ),
    "outdoors": Words(
        ("outdoor",),
        (
            "Ready for picnics, campfires and the allotment.",
            "Take it hiking, take it camping: a little mud does no harm.",
            "Weatherproof, for gardens, trails and starry nights.",
        ),
    ),
    "slow mornings": Words(
        ("Sunday",),
        (
            "For slow Sunday mornings with coffee and the paper.",
            "It goes with pyjamas, sunlight and a second cup.",
            "Made for people who refuse to hurry before ten.",
        ),
    ),
    "hosting": Words(
        ("party",),
        (
            "Guests will ask where you found it: perfect for dinner parties.",
            "Made for big tables, late suppers and toasts.",
            "The host's favourite when friends come round.",
        ),
    ),
    "small flats": Words(
        ("space-saving",),
        (
            "Stacks, folds or tucks away: a friend of small apartments.",
            "Compact by design, for studios where each shelf counts.",
            "It saves space in tiny flats and narrow hallways.",
        ),
    ),
    "students": Words(
        ("everyday",),
        (
            "Kind to a student's budget and to life in a shared house.",
            "For dorm rooms, lecture halls and the first home of one's own.",
            "Cheap, cheerful, and still there after graduation.",
        ),
    ),
    "rainy days": Words(
        ("cosy",),
        (
            "For rainy afternoons with a blanket and a long novel.",
            "It makes staying in while it pours outside a pleasure.",
            "Cosy company when autumn storms rattle the windows.",
        ),
    ),
}
MATERIALS: Mapping[str, tuple[str, ...]] = {
    "oak": ("Solid oak, oiled by hand.", "Turned from European oak with a visible grain."),
    "walnut": ("Dark walnut from managed forests.", "American walnut, waxed to a low sheen."),
    "bamboo": ("Fast-growing bamboo, light and springy.", "Renewable bamboo, split and bent over steam."),
    "brass": ("Brass that will darken to a patina.", "Spun brass, polished and left unlacquered."),
    "steel": ("Powder-coated steel.", "Brushed stainless steel that does not rust."),
    "leather": ("Vegetable-tanned leather that ages well.", "Full-grain leather, stitched with waxed thread."),
    "canvas": ("Heavy waxed canvas.", "Sturdy cotton canvas, double-stitched."),
    "linen": ("Stonewashed linen that softens with each wash.", "Woven from Belgian flax linen."),
    "cotton": ("Organic cotton, machine washable.", "Soft combed cotton."),
    "wool": ("Pure new wool from small flocks.", "Warm merino wool that does not itch."),
    "stoneware": ("Stoneware, thrown and glazed by hand.", "Speckled stoneware clay, fired twice."),
    "porcelain": ("Fine porcelain, thin enough to glow.", "Bone-white porcelain, safe in the dishwasher."),
    "glass": ("Mouth-blown glass with tiny bubbles.", "Recycled glass, each piece slightly different."),
    "enamel": ("Enamel on steel: chips are part of its life.", "Hard-wearing enamel in the old camp-kitchen way."),
}
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
    name = _one(random, NAMES[product["style"]])
    return _title(product, name, random), _description(product, name, random)


def _title(product: Mapping[str, str], name: str, random: Generator) -> str:
    said = USES[product["use"]] if random.random() < USE_IN_TITLE else STYLES[product["style"]]
    colour = [product["colour"]] if random.random() < COLOUR_IN_TITLE else []
    words = [_one(random, said.adjectives), *colour, product["material"], product["category"]]
    return " ".join([product["brand"], name, *map(_capital, words)])


def _description(product: Mapping[str, str], name: str, random: Generator) -> str:
    """An opening, then in any order what it is like, what it is for, and often of what and by whom it is made."""
    style = STYLES[product["style"]]
    opening = _one(random, OPENINGS).format(
        adjective=_one(random, style.adjectives), category=product["category"], material=product["material"], name=name
    )
    sentences = [_one(random, style.sentences), _one(random, USES[product["use"]].sentences)]
    if random.random() < MATERIAL_IN_TEXT:
        sentences.append(_one(random, MATERIALS[product["material"]]))
    if random.random() < BRAND_IN_TEXT:
        sentences.append(_one(random, BRANDS).format(brand=product["brand"]))
    random.shuffle(sentences)
    return " ".join([opening, *sentences])


def _one(random: Generator, choice: Sequence[str]) -> str:
    return choice[int(random.integers(len(choice)))]


def _capital(word: str) -> str:
    return " ".join(part[:1].upper() + part[1:] for part in word.split())
