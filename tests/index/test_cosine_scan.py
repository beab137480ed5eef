"""A search by cosine without copies finds what exact search over unit vectors finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.cosine_scan import CosineScan
from index.errors import InputError
from index.ranking import exact_search, unit_rows
from index.tables import Table, pack_table

N, D = 300, 8


def vectors(seed: int = 0) -> np.ndarray:
    """Rows of uneven lengths, some of them equal and some zeros."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((N, D), np.float32) * rng.gamma(1, size=(N, 1)).astype(np.float32)
    rows[10:14], rows[50:60] = rows[3], 0
    return rows


def tables() -> dict[str, Table]:
    rows = vectors()
    return {"float32": rows, "half": rows.astype(np.float16), "int8": pack_table(rows, "int8")}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(tables())),
    st.integers(1, N + 5),
    st.sets(st.integers(0, N - 1), max_size=80),
    st.none() | st.sets(st.integers(0, N - 1)),
    st.integers(0, 9),
)
def test_it_finds_what_exact_search_over_copies_finds(
    kind: str, k: int, excluded: set[int], chosen: set[int] | None, seed: int
) -> None:
    table = tables()[kind]
    unit = unit_rows(np.asarray(table))
    query = unit_rows(np.random.default_rng(seed).standard_normal((1, D), np.float32))[0]
    within = None if chosen is None else np.array(sorted(chosen), np.int64)
    scan = CosineScan(table)
    rows, scores = scan.search(query, k, np.array(sorted(excluded), np.int64), within)
    out = excluded | set(range(50, 60)) | (set() if chosen is None else set(range(N)) - chosen)
    expected, cosines = exact_search(unit, query, k, np.array(sorted(out), np.int64))
    n = int(np.count_nonzero(expected[0] >= 0))
    assert rows.tolist() == expected[0, :n].tolist()
    assert scores.tolist() == cosines[0, :n].tolist()
    assert scan.unknown.tolist() == list(range(50, 60))


def test_a_row_out_of_range_is_refused() -> None:
    scan = CosineScan(vectors())
    with pytest.raises(InputError, match=r"expected 0\.\.299"):
        scan.search(np.eye(D, dtype=np.float32)[0], 3, np.array([N]))
