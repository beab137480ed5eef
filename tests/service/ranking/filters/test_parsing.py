import pytest
from catalogues import expressions
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequestError
from service.ranking.filters.expression import (
    And,
    Boolean,
    Comparison,
    Expression,
    FromNow,
    Membership,
    Moment,
    Not,
    Number,
    Or,
    Text,
)
from service.ranking.filters.parsing import DEEPEST, MAX_CHARS, MOST_TERMS, parse_filter


@given(expressions)
def test_a_filter_that_is_written_and_parsed_is_the_same(expression: Expression) -> None:
    assert parse_filter(str(expression)).expression == expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price < 30", Comparison("price", "<", Number(30.0))),
        ("price>=-1.5e3", Comparison("price", ">=", Number(-1500.0))),
        ("colour = red", Comparison("colour", "=", Text("red"))),
        ("größe != 'it\\'s'", Comparison("größe", "!=", Text("it's"))),
        ('`net price` = "a\\"b"', Comparison("net price", "=", Text('a"b'))),
        ("'net price' = 1", Comparison("net price", "=", Number(1.0))),
        ("new = TRUE", Comparison("new", "=", Boolean(True))),
        ("day = 2026-01-01", Comparison("day", "=", Moment("2026-01-01", 1_767_225_600.0))),
        ("at <2026-01-01T01:00:00+01:00", Comparison("at", "<", Moment("2026-01-01T01:00:00+01:00", 1_767_225_600.0))),
        ("at > now - 2w", Comparison("at", ">", FromNow(-1_209_600.0))),
        ("at > now+90s", Comparison("at", ">", FromNow(90.0))),
        ("at<now", Comparison("at", "<", FromNow(0.0))),
        ("a in [1, 2, 1]", Membership("a", (Number(1.0), Number(2.0)))),
        ("a = nowhere", Comparison("a", "=", Text("nowhere"))),
        ("a = and-or", Comparison("a", "=", Text("and-or"))),
        ("a = now-or-never", Comparison("a", "=", Text("now-or-never"))),
        ("android = 1", Comparison("android", "=", Number(1.0))),
    ],
)
def test_values_and_names_are_as_written(text: str, expected: Expression) -> None:
    assert parse_filter(text).expression == expected


def test_not_binds_before_and_and_before_or() -> None:
    one, two, three = (Comparison(name, "=", Number(1.0)) for name in "abc")
    assert parse_filter("not a = 1 and b = 1 or c = 1").expression == Or((And((Not(one), two)), three))
    assert parse_filter("not (a = 1 and (b = 1 or c = 1))").expression == Not(And((one, Or((two, three)))))
    assert parse_filter("a = 1 AND (b = 1 and c = 1)").expression == And((one, two, three))
    assert parse_filter("NOT NOT a = 1").expression == one
    assert parse_filter(" (( a=1 )) ").text == parse_filter("a = 1").text == "a = 1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" ", "at character 2 found the end, expected a name"),
        ("price <", "at character 8 found the end, expected a value"),
        ("price 30", "at character 7 found '30', expected one of = != < <= > >= in contains"),
        ("price == 30", "at character 8 found '=', expected a value; equality is ="),
        ("price <> 30", "at character 8 found '>', expected a value; inequality is !="),
        ("a = 1 && b = 2", "at character 7 found '&', expected a name, a value or an operator; write and"),
        ("a = 1 || b = 2", "at character 7 found '|', expected a name, a value or an operator; write or"),
        ("!(a = 1)", "at character 1 found '!', expected a name, a value or an operator; write not"),
        ("colour: red", "at character 7 found ':', expected a name, a value or an operator; equality is ="),
        ("colour not in [red]", "expected one of = != < <= > >= in contains; write not before the name"),
        ("colour is null", "write exists(name) or not exists(name)"),
        ("colour like red", "write contains"),
        ("price between 1 and 2", "write price >= 10 and price <= 20"),
        (
            "colour = dark red",
            "at character 15 found 'red', expected 'and', 'or' or the end; put text of several words",
        ),
        ("colour in (red)", "at character 11 found '(', expected '['; lists stand in brackets"),
        ("colour in []", "at character 12 found ']', expected a value"),
        ("colour in [red", "at character 15 found the end, expected ']' or ','"),
        (
            "colour = 'red",
            'at character 10 found "\'", expected a name, a value or an operator; a quote that is opened',
        ),
        ("size = 3xl", "at character 8 found '3xl', expected a name, a value or an operator; put text that begins"),
        ("exists colour", "at character 8 found 'colour', expected '('"),
        ("(a = 1", "at character 7 found the end, expected"),
        ("a = 1)", "at character 6 found ')', expected"),
        ("and = 1", "at character 1 found 'and', expected a name"),
        ("at > now - 30", "at character 12 found '30', expected a duration such as 30d"),
        ("at > 2026-02-30", "2026-02-30 at character 6 is no day or time of a calendar"),
        ("at > now - 9999999999w", "9999999999w at character 12 is longer than 300 years"),
        ("a = 1e999", "the number 1e999 at character 5 is too large"),
        ("a = 1" + " " * MAX_CHARS, f"has {MAX_CHARS + 5} characters, the limit is {MAX_CHARS}"),
        ("(" * 33 + "a=1" + ")" * 33, f"has parentheses 33 deep, the limit is {DEEPEST}"),
        ("a in [" + ",".join("1" * MOST_TERMS) + "]", f"has 200 comparisons and values, the limit is {MOST_TERMS}"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_place_and_what_was_expected(text: str, told: str) -> None:
    if "the limit is 200" in told:
        text, told = text.replace("]", ",1]"), told.replace("has 200", "has 201")
    with pytest.raises(InvalidRequestError) as error:
        parse_filter(text)
    assert error.value.detail.startswith("filter: ")
    assert told in error.value.detail


PIECES = [
    *("a", "price", "'x y'", "`", '"', "\\", "(", ")", "[", "]", ",", "and", "or", "not", "in", "contains", "exists"),
    *("=", "!=", "<", "<=", "!", "now", "-", "+", "30d", "1", "-1.5", "1e9", "2026-01-01", "T", "true", "é", "\0"),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    try:
        found, refused = parse_filter(text), "filter: "
    except InvalidRequestError as error:
        found, refused = None, error.detail
    assert refused.startswith("filter: ")
    assert len(refused) < 500
    assert found is None or parse_filter(found.text).expression == found.expression


@pytest.mark.parametrize(
    "text", ["(" * MAX_CHARS, "not " * (MAX_CHARS // 4), '"' * MAX_CHARS, "a" * MAX_CHARS, "`\\" * (MAX_CHARS // 2)]
)
def test_the_longest_texts_are_refused_without_recursion(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_filter(text)


def test_a_deep_filter_within_the_limits_is_parsed() -> None:
    nots = "not " * (MOST_TERMS - 1)
    assert parse_filter(f"{nots} a = 1").n_terms == 1
    assert parse_filter("not (" * DEEPEST + "a = 1" + ")" * DEEPEST).expression == parse_filter("a = 1").expression
