import pytest
from catalogues import NOW, ids_of, pack

from index.recommending.steps import done
from service.errors import InvalidRequestError
from service.ranking.facets import build_facets
from service.ranking.filters import building
from service.ranking.filters.parsing import parse_filter

FACETS = build_facets(
    pack(
        [
            {
                "title": f"{colour} lamp",
                "category": "lamp",
                "image": None,
                "attributes": {
                    "colour": colour, "price": price, "tags": ["sale", colour], "new": True, "at": f"2026-01-0{price}",
                    "net weight": 1,
                },
            }
            for price, colour in enumerate(("red", "blue", "Grün", "dark red"), 1)
        ]
    )
)  # fmt: skip


def warnings(text: str) -> list[str]:
    found = done(FACETS.select(parse_filter(text), ids_of(4), NOW))
    assert bool(len(found.rows)) == ("or price > 0" in text)
    return list(found.warnings)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("color = red", "no item has the attribute color; did you mean 'colour'?"),
        ("exists(pric)", "no item has the attribute pric; did you mean 'price'?"),
        ("`net wieght` = 1", "no item has the attribute `net wieght`; did you mean 'net weight'?"),
        ("zzz = 1", "no item has the attribute zzz; known are at, available, category, colour, created_at, item_id, "
         "`net weight`, new, price, tags, title"),
        ("colour = Red", "no item has colour 'Red'; did you mean 'red'?"),
        ("colour = grün", "no item has colour 'grün'; did you mean 'Grün'?"),
        ("colour = turquoise", "no item has colour 'turquoise'"),
        ("tags contains sales", "no item has tags 'sales'; did you mean 'sale'?"),
        ("colour contains violet", "no item has colour with 'violet' in it"),
        ("category = lamps", "no item has category 'lamps'; did you mean 'lamp'?"),
        ("title contains chair", "no item has a title with 'chair'"),
        ("item_id = i9", "no item has the id 'i9'"),
        ("price > 30", "no item has price > 30; its values are 1 to 4"),
        ("at < now - 900d", "no item has at < now - 900d; its values are 2026-01-01T00:00:00Z to 2026-01-04T00:00:00Z"),
        ("new = false", "no item has new = false"),
        ("created_at > 2026-01-01", "no item has created_at > 2026-01-01"),
    ],
)  # fmt: skip
def test_what_no_item_has_is_told_with_what_is_like_it(text: str, warning: str) -> None:
    assert warnings(text) == [warning]


def test_each_value_of_a_list_is_told_and_what_some_item_has_is_not() -> None:
    assert warnings("colour in [red, bleu, grey] or price > 0") == [
        "no item has colour 'bleu'; did you mean 'blue'?",
        "no item has colour 'grey'",
    ]
    assert warnings("colour != pink or price > 0") == []
    assert len(warnings("colour in [" + ", ".join(f"none{i}" for i in range(50)) + "]")) == 10


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("price = cheap", "price holds numbers, found text \"cheap\""),
        ("price = true", "price holds numbers, found true or false true"),
        ("price contains 3", "price holds numbers, found contains; expected =, !=, <, <=, >, >=, in or exists"),
        ("colour = 3", "colour holds text, found a number 3; write \"3\""),
        ("colour < red", "colour holds text, found <; expected =, !=, in, contains or exists"),
        ("tags = sale", "tags holds lists, found =; expected contains or exists: write tags contains \"sale\""),
        ("tags in [sale, x, y]", "write tags contains \"sale\" or tags contains \"x\""),
        ("new = yes", "new holds true or false, found text \"yes\""),
        ("new > true", "new holds true or false, found >; expected =, !=, in or exists"),
        ("at > 3", "at holds times, found a number 3, such as 2026-01-31, 2026-01-31T12:00:00Z or now - 30d"),
        ("at > soon", "at holds times, found text \"soon\""),
        ("category = 3", "category holds categories, found a number 3; write \"3\""),
        ("item_id contains i", "item_id holds ids, found contains; expected =, !=, in or exists"),
        ("title < x", "title holds text, found <"),
        (f"colour = {'x' * 257}", "a value has 257 characters, the limit is 256"),
    ],
)  # fmt: skip
def test_types_that_do_not_fit_are_refused_with_both_named(text: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        warnings(text)
    assert error.value.detail.startswith("filter: ")
    assert told in error.value.detail


def test_an_attribute_beyond_the_limits_is_refused_and_not_called_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MOST_TEXT_COLUMNS", 1)
    record = {"title": "", "category": "", "attributes": {"a": "x", "b": "y", "c": 1}, "image": None}
    facets = build_facets(pack([record]))
    assert done(facets.select(parse_filter("a = x and c = 1"), ids_of(1), NOW)).rows.tolist() == [0]
    with pytest.raises(InvalidRequestError, match="b is not held for filters, as the items have too many attributes"):
        done(facets.select(parse_filter("b = y"), ids_of(1), NOW))
