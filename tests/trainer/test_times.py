import os
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.errors import InputError
from trainer.datasets.times import AUTO, TimeOptions, read_times

START = 1_700_000_000
BULK = [START + i * 60 for i in range(72)]


def seconds(values, options=AUTO, dtype=None):
    return read_times(pl.Series("when", values, dtype=dtype, strict=False), options).seconds.to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1393632000", "1393632001.9", ""], [1393632000, 1393632001, None]),
        ([1393632000123, 1393632001000, None], [1393632000, 1393632001, None]),
        (["2014-03-01", "2014-03-01T00:00:01Z", " "], [1393632000, 1393632001, None]),
        (["2014-03-01 02:00:00+02:00", "2014-03-01 00:00:01.5", None], [1393632000, 1393632001, None]),
        ([datetime(2014, 3, 1), datetime(2014, 3, 1, 0, 0, 1), None], [1393632000, 1393632001, None]),
        ([1.393632e9, float("nan"), -5.0], [1393632000, None, None]),
        ([None, None], [None, None]),
        (["1393632000", "N/A", "null", "\\N", "NaN"], [1393632000, None, None, None, None]),
        (["2014-03-01", "NaT", "-"], [1393632000, None, None]),
        ([0, 1, 2], [0, 1, 2]),
        ([], []),
        ([20140301, 20140302], [1393632000, 1393718400]),
        ([date(2014, 3, 1), None], [1393632000, None]),
        ([datetime(2014, 3, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))], [1393632000]),
        ([Decimal("1393632000.50")], [1393632000]),
        ([1393632000 * 10**9 + 1], [1393632000]),
    ],
)
def test_times_are_recognised(values, expected):
    assert seconds(values) == expected


@pytest.mark.parametrize(
    "written",
    [
        "2019-10-01 00:00:00 UTC",
        "2019-10-01 00:00 GMT",
        "2019-10-01T00:00:00Z",
        "2019-10-01t00:00:00.123456789z",
        "2019-10-01T00:00:00,5+00:00",
        "2019-10-01 02:00:00+02",
        "2019-10-01 05:30:00 +0530",
        "2019-09-30 20:30:00-03:30",
        "2019-10-01 00:00:00 +0000 UTC",
        "2019/10/01",
        "2019/10/1 0:00",
        "2019.10.01",
        "20191001T000000Z",
        "2019-W40-2",
        "Tue, 01 Oct 2019 02:00:00 +0200",
        "Tue, 01 Oct 2019 00:00:00 GMT",
    ],
)
def test_dates_and_times_are_read_in_the_ways_that_leave_no_doubt(written):
    assert seconds([written]) == [1569888000]


@pytest.mark.parametrize(
    "written",
    ["01/02/2019", "1.2.2019 10:00", "13-02-19", "yesterday", "2019-02-30", "10:00", "2019-10-01T00:00+25:00"],
)
def test_a_date_that_leaves_a_doubt_is_refused_with_the_option_that_ends_it(written):
    with pytest.raises(InputError, match=r"column 'when': 1 of 2 values.*first '.*--time-format"):
        seconds(["2019-10-01", written])


def test_a_named_format_is_read_and_what_does_not_fit_it_is_refused():
    day_first = TimeOptions(format="%d/%m/%Y")
    assert seconds(["01/10/2019", None, ""], day_first) == [1569888000, None, None]
    assert seconds([20191001000000], TimeOptions(format="%Y%m%d%H%M%S")) == [1569888000]
    assert seconds(["01/10/2019 02:00 +0200"], TimeOptions(format="%d/%m/%Y %H:%M %z")) == [1569888000]
    with pytest.raises(InputError, match=r"1 of 2 values.*first '10/13/2019'; expected '%d/%m/%Y'"):
        seconds(["01/10/2019", "10/13/2019"], day_first)


@pytest.mark.parametrize("pattern", ["%q", "%", "%Y%Y", "%d/%m", "%H:%M", "%Y-%m-%d %Z", ""])
def test_a_format_that_cannot_give_a_time_is_refused(pattern):
    with pytest.raises(InputError, match="--time-format"):
        seconds(["2019-10-01"], TimeOptions(format=pattern))


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("strange", [253402300799, 2**63 - 1, 2**31 - 1, 2**32 - 1, 0, 1, -1, -(2**63), 1e300, "inf"])
def test_one_strange_value_becomes_unknown_is_named_and_moves_no_other(unit, strange):
    values = [str(second * unit) for second in BULK] + [str(strange)]
    read = read_times(pl.Series("when", values))
    assert read.seconds.to_list() == [*BULK, None]
    assert f"first {strange} " in read.notes[-1]
    assert "1 of 73" in read.notes[-1]
    assert "--time-unit" in read.notes[-1]


@pytest.mark.parametrize("strange", ["9999-12-31", "0001-01-01", "1970-01-01", "0000-00-00 00:00:00", "1900-01-01"])
def test_a_strange_date_becomes_unknown_and_is_named(strange):
    read = read_times(pl.Series("when", ["2019-10-01", strange, "2019-10-02"]))
    assert read.seconds.to_list() == [1569888000, None, 1569974400]
    assert strange in read.notes[-1]


def test_a_strange_moment_in_a_column_of_dates_becomes_unknown():
    assert seconds([date(2019, 10, 1), date(9999, 12, 31), date(1, 1, 1)]) == [1569888000, None, None]
    assert seconds([0, 2**63 - 1, 1569888000 * 1000], dtype=pl.Datetime("ms")) == [None, None, 1569888000]


def test_many_values_that_stand_for_unknown_do_not_outvote_the_times():
    assert seconds([0] * 100 + [253402300799] * 100 + [START, START + 1]) == [None] * 200 + [START, START + 1]


def test_mixed_units_are_read_each_by_its_size_and_told():
    read = read_times(pl.Series("when", BULK[:61] + [second * 1000 for second in BULK[61:]]))
    assert read.seconds.to_list() == BULK
    assert "mixed units" in read.notes[0]
    assert "61 as seconds" in read.notes[0]
    assert "11 as milliseconds" in read.notes[0]


def test_a_named_unit_reads_all_alike_and_keeps_all_that_can_be_times():
    values = [0, START, 2**31 - 1, START * 1000, -1, 253402300799]
    assert seconds(values, TimeOptions("s")) == [0, START, 2**31 - 1, None, None, None]
    assert seconds([START], TimeOptions("ms")) == [START // 1000]


def test_the_guess_is_told_with_the_option_that_overrides_it():
    assert read_times(pl.Series("when", BULK)).notes == (
        "when: read as seconds since 1970, told by size (--time-unit overrides)",
    )
    assert "YYYYMMDD (--time-unit" in read_times(pl.Series("when", [20191001])).notes[0]
    assert "(--time-format overrides)" in read_times(pl.Series("when", ["2019-10-01"])).notes[0]
    assert read_times(pl.Series("when", BULK), TimeOptions("s")).notes == ()


@pytest.mark.parametrize(
    "values",
    [
        [time(10, 0)],
        [timedelta(seconds=5)],
        [True, False],
        [[START]],
        [{"$date": START}],
        [b"2019-10-01"],
    ],
)
def test_a_column_that_holds_no_times_is_refused_by_name(values):
    with pytest.raises(InputError, match=r"column 'when' holds .*expected unix times.*--time-column"):
        seconds(values)


@pytest.mark.parametrize("values", [[10**19], ["9999-12-31"], [20191001120000], ["inf"], [-1, -2]])
def test_a_column_without_any_possible_time_is_refused_with_advice(values):
    with pytest.raises(
        InputError, match=r"no value read lies between 1970 and 2100, first .*--time-unit.*--time-format"
    ):
        seconds(values)


def test_unit_and_format_exclude_each_other():
    with pytest.raises(InputError, match="expected one of them"):
        TimeOptions("ms", "%Y")


def test_no_value_of_any_number_type_ends_in_another_error():
    extremes = {
        pl.Int8: [-128, 127],
        pl.Int64: [-(2**63), 2**63 - 1],
        pl.UInt64: [0, 2**64 - 1],
        pl.Int128: [-(2**127), 2**127 - 1],
        pl.Float32: [float("-inf"), float("inf"), float("nan"), 3e38],
        pl.Float64: [float("-inf"), float("inf"), float("nan"), 1e308, 5e-324, -0.0],
    }
    for dtype, values in extremes.items():
        assert seconds([START, *values], dtype=dtype)[1:].count(None) >= 1 or dtype == pl.Int8


WRITTEN = [
    *("2019-10-01", "2019-10-01 00:00:00 UTC", "", "nan", "inf", "1e400", "0000-00-00", "01/02/2019", "1700000000"),
    *("9999-12-31T23:59:59+14:00", "0001-01-01T00:00:00-14:00", "\u0662\u0660\u0661\u0669-10-01", "\u00b2", "1_000"),
    *(
        "Tue, 99 Oct 2019 00:00:00 GMT",
        "01 Oct 0000 00:00 GMT",
        "2019-02-29",
        "\0",
        "T",
        "20191301",
        "2019W011",
        "1e18",
    ),
]
INTEGERS = [0, 1, -1, 2**31 - 1, 2**32, 2**63 - 1, -(2**63), START, START * 1000, START * 10**9, 20191001]
REALS = [0.0, -0.0, float("nan"), float("inf"), 1e300, 5e-324, START + 0.5]
MOMENTS = [datetime(1, 1, 1), datetime(9999, 12, 31), datetime(2019, 1, 1)]
OPTIONS = [AUTO, TimeOptions("s"), TimeOptions("ns"), TimeOptions(format="%Y-%m-%d"), TimeOptions(format="%Y%m%d")]


@settings(max_examples=int(os.environ.get("TIME_COLUMNS", "60")), deadline=None)
@given(
    st.one_of(*(st.lists(st.sampled_from([*kind, None]), max_size=8) for kind in (WRITTEN, INTEGERS, REALS, MOMENTS))),
    st.sampled_from(OPTIONS),
)
def test_any_column_gives_possible_times_or_one_sentence(values, options):
    try:
        read = read_times(pl.Series("when", values), options).seconds
    except InputError as error:
        told = str(error)
    else:
        told = ""
        assert (read.dtype, len(read)) == (pl.Int64, len(values))
        assert read.drop_nulls().is_between(0, 4_102_444_799).all()
    assert "\n" not in told


def test_a_moment_of_utc_is_the_same_in_every_form():
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    forms = [[START], [moment.isoformat()], [moment], [moment.strftime("%Y-%m-%d %H:%M:%S UTC")]]
    assert [seconds(form) for form in forms] == [[START]] * 4
