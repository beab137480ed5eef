"""Numbers, durations and sizes as all views of the console write them."""

import pytest
from console_scripts import in_node


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("number(1234567)", "1,234,567"),
        ("number(1234.5)", "1,235"),
        ("number(-0.0123456)", "−0.0123"),
        ("number(null)", "–"),
        ("number(0 / 0)", "–"),
        ("signed(0.03314)", "+0.0331"),
        ("percent(0.06123)", "6.12%"),
        ("signedPercent(-0.0785)", "−7.85%"),
        ("counted(1, 'user')", "1 user"),
        ("counted(2000, 'user')", "2,000 users"),
        ("bytes(12_345_678)", "12.3 MB"),
        ("milliseconds(0.6123)", "0.612 ms"),
        ("seconds(300)", "5 min"),
        ("seconds(3600 * 2 + 185)", "2 h 3 min"),
        ("seconds(59.9)", "59.9 s"),
        ("relativeTime(1_000, new Date(7_201_000))", "1 hour ago"),
    ],
)
def test_a_number_is_written_with_three_digits_and_its_unit(written: str, expected: str) -> None:
    names = "number, signed, percent, signedPercent, counted, bytes, milliseconds, seconds, relativeTime"

    assert in_node(f"const {{ {names} }} = await load('ui/format.ts'); return {written};") == expected
