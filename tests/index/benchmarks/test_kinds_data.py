"""What kinds of index are measured against is right, and what does not fit into memory is not tried."""

from pathlib import Path

import numpy as np
import pytest

from index.benchmarks.kinds_benchmark import reason_to_skip
from index.benchmarks.kinds_data import BenchData, bytes_available, exact_scores, generated_data, remove_generated, scan
from index.kinds import KindOfIndex
from index.ranking import exact_search


def data_of(n: int) -> BenchData:
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((n, 6), dtype=np.float32), rng.standard_normal((9, 6), dtype=np.float32)
    seen = [rng.choice(n, 5, replace=False) for _ in queries]
    return BenchData("", vectors, queries, seen, exact_search(vectors, queries, 4, seen)[1])


@pytest.mark.parametrize("chunk", [7, 100, 1_000])
def test_exact_scores_read_in_chunks_are_those_of_exact_search(monkeypatch, chunk):
    monkeypatch.setattr("index.benchmarks.kinds_data._CHUNK", chunk)
    data = data_of(300)
    np.testing.assert_array_equal(exact_scores(data.vectors, data.queries, 4, data.seen), data.exact)


def test_a_scan_without_an_index_finds_what_exact_search_finds():
    data = data_of(300)
    search = scan(data, 4)
    np.testing.assert_allclose(np.concatenate([search(query) for query in range(9)]), data.exact, rtol=1e-6)


def test_generated_vectors_are_kept_for_the_next_run_unless_they_are_not_whole(tmp_path: Path):
    made = generated_data(500, 4, 3, 2, tmp_path)
    assert isinstance(made.vectors, np.memmap)
    assert made.exact.shape == (2, 3)
    file = tmp_path / "vectors-500x4.npy"
    written_at = file.stat().st_mtime_ns
    for ours, theirs in zip(generated_data(500, 4, 3, 2, tmp_path)[1:], made[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert file.stat().st_mtime_ns == written_at
    (tmp_path / "data-500x4-2-3.npz").unlink()  # as after a kill
    generated_data(500, 4, 3, 2, tmp_path)
    assert file.stat().st_mtime_ns > written_at
    remove_generated(500, 4, 3, 2, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kind_that_does_not_fit_into_free_memory_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.setattr("index.benchmarks.kinds_benchmark.bytes_available", lambda: 2e9)
    assert reason_to_skip(KindOfIndex("IVF64,SQ8"), 10_000_000, 64) == ""
    reason = "10,000,000 x 256: IVF64,Flat needs about 15.5 GB; 2.0 GB are free"
    assert reason_to_skip(KindOfIndex("IVF64,Flat"), 10_000_000, 256) == reason
    assert reason_to_skip(KindOfIndex("Flat"), 10_000_000, 256) == ""  # it is scanned where it is


def test_free_memory_is_what_the_system_tells(tmp_path: Path):
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:  3 kB\n")
    assert bytes_available(tmp_path / "meminfo") == 3_072
    assert bytes_available(tmp_path / "none") == np.inf
