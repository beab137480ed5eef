"""The comparison of two bundles; tests/service/bundles/test_comparing.py has known answers over whole bundles."""

import pytest

from index.ids import IdTable
from index.side_by_side import spearman


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("abcd", "abcd", 1.0),
        ("abcd", "dcba", -1.0),
        ("axbcd", "bacdy", 0.8),  # common: abcd and bacd, squared differences 1 + 1: 1 - 6 * 2 / (4 * 15)
        ("abxy", "abzw", None),
        ("", "", None),
    ],
)
def test_the_order_of_common_items_is_correlated_by_spearmans_formula(
    one: str, other: str, expected: float | None
) -> None:
    assert spearman(list(one), list(other)) == (None if expected is None else pytest.approx(expected))


def test_shared_ids_are_found_whatever_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.ids._AT_ONCE", 3)
    ours, theirs = IdTable.build([f"u{i}" for i in range(10)]), IdTable.build(["u9", "x", "u0", "u4", "y"])
    assert ours.shared_with(theirs).tolist() == [0, 4, 9]
    assert theirs.shared_with(ours).tolist() == [0, 2, 3]
    assert ours.shared_with(IdTable.build([])).tolist() == []
