from typing import Any

from catalogues import Record, expressions, facets_of, matches, records, select
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ranking.facets import Facets
from service.ranking.filters.expression import Expression
from service.ranking.filters.text_columns import TextColumn

law = settings(max_examples=150)


@law
@given(st.lists(records, max_size=8), expressions)
def test_a_filter_matches_the_items_that_match_it_one_by_one(items: list[Record], expression: Expression) -> None:
    expected = [row for row, item in enumerate(items) if matches(expression, row, item)]
    assert select(facets_of(items), expression).rows.tolist() == expected


changes = st.lists(st.dictionaries(st.integers(0, 9), st.none() | records, max_size=4), min_size=1, max_size=3)
GONE: Record = {"title": "", "category": "", "attributes": {}, "image": None, "available": False}


@law
@given(st.lists(records, max_size=6), changes, st.lists(expressions, min_size=1, max_size=4))
def test_facets_with_changed_items_are_those_built_from_scratch(
    items: list[Record], changes: list[dict[int, Any]], chosen: list[Expression]
) -> None:
    living, before = facets_of(items), list(items)
    first = living
    for changed in changes:
        n_rows = max([len(items), *(row + 1 for row in changed)])
        items = items + [{**GONE, "available": True} for _ in range(n_rows - len(items))]
        items = [(changed[row] or GONE) if row in changed else item for row, item in enumerate(items)]
        living = living.with_items(n_rows, changed)
    scratch = facets_of(items)
    for expression in chosen:
        assert select(living, expression).rows.tolist() == select(scratch, expression).rows.tolist()
        expected = [row for row, item in enumerate(before) if matches(expression, row, item)]
        assert select(first, expression).rows.tolist() == expected  # a store that was made before stays as it is
    assert categories(living) == categories(scratch)


def categories(facets: Facets) -> list[str]:
    column = facets.columns["category"]
    assert isinstance(column, TextColumn)
    return ["" if code < 0 else column.dictionary.texts[code] for code in facets.categories.tolist()]
