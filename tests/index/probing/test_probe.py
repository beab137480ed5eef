"""An index file of others is opened and searched by a process of its own first; what is wrong with it is told."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from bundles import with_index, write_small_bundle

from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.gate import check_bundle
from index.item_index import ItemIndex
from index.manifest import INDEX
from index.probing import probed_indexes
from index.probing.index_structure import CHECKS
from index.probing.probe import OUT_OF_MEMORY, probe
from index.probing.probed_indexes import MOST_RECORDED, RECORD, ProbedIndexes, probe_in_process
from index.reindex import reindex
from index.storage import sha256_of

N, D = 300, 16
KINDS = (
    "Flat", "SQ8", "SQ4", "SQfp16", "PQ2x4", "PQ4x4fs", "RaBitQ", "RaBitQfs", "IVF4,Flat", "IVF4,SQ8", "IVF4,PQ2x4",
    "IVF4,PQ4x4fs", "IVF4,RaBitQ", "IVF4,RaBitQfs", "HNSW8", "HNSW8,SQ8", "NSG8,Flat", "PCA8,IVF4,Flat",
    "RR16,PQ2x4", "L2norm,Flat", "IVF4,Flat,RFlat", "PQ4x4fs,Refine(SQ8)", "IVF4_HNSW4,Flat",
)  # fmt: skip


def built(factory: str, n: int = N) -> Any:
    vectors = np.random.default_rng(5).standard_normal((n, D), np.float32)
    index = faiss.index_factory(D, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index


def written(index: Any, path: Path) -> Path:
    faiss.write_index(index, str(path))
    return path


def test_a_sound_index_of_any_kind_passes(tmp_path: Path) -> None:
    checked = set()
    for factory in KINDS:
        index = built(factory)
        probe(written(index, tmp_path / "item.faiss"), N)
        checked.add(CHECKS[type(faiss.downcast_index(index)).__name__])
    assert checked == set(CHECKS.values())


def of_ints(index: Any, vector: str) -> np.ndarray:
    graph = index.hnsw
    return faiss.rev_swig_ptr(getattr(graph, vector).data(), getattr(graph, vector).size())


def a_link_beyond_all_rows(index: Any) -> None:
    of_ints(index, "neighbors")[0] = N


def a_link_to_a_row_below(index: Any) -> None:
    """On level 1 to a row that is on level 0 alone, whose links there are those of the next row."""
    levels, offsets = of_ints(index, "levels"), of_ints(index, "offsets")
    above = int(np.flatnonzero(levels > 1)[0])
    level_1 = int(offsets[above]) + index.hnsw.cum_nb_neighbors(1)
    of_ints(index, "neighbors")[level_1] = int(np.flatnonzero(levels == 1)[0])


def an_entry_beyond_all_rows(index: Any) -> None:
    index.hnsw.entry_point = N


def a_search_that_takes_all_memory(index: Any) -> None:
    index.hnsw.efSearch = 2**30


def a_row_beyond_all_rows(index: Any) -> None:
    faiss.rev_swig_ptr(index.invlists.get_ids(0), 1)[0] = N + 5


def a_row_twice(index: Any) -> None:
    rows = faiss.rev_swig_ptr(index.invlists.get_ids(0), 2)
    rows[0] = rows[1]


def no_probed_list(index: Any) -> None:
    index.nprobe = 0


def as_many_candidates_as_memory_holds(index: Any) -> None:
    index.k_factor = 1e9


@pytest.mark.parametrize(
    ("factory", "change", "message"),  # of some FAISS, where it is new enough, tells first
    [
        (
            "HNSW4",
            a_link_beyond_all_rows,
            r"links run from -1 to 300; expected -1..299|neighbors\[0\] = 300 out of range",
        ),
        ("HNSW4", a_link_to_a_row_below, "its graph links a row to one that is not on that level"),
        ("HNSW4", an_entry_beyond_all_rows, r"its entry is 300; expected 0 to 299|entry_point 300 out of range"),
        ("HNSW4", a_search_that_takes_all_memory, "its ef_search is 1073741824; expected 1 to 1000000"),
        ("IVF4,Flat", a_row_beyond_all_rows, "expected 0..299"),
        ("IVF4,Flat", a_row_twice, "it has 299 different rows in its lists; expected 300"),
        ("IVF4,SQ8", no_probed_list, "its number of probed lists is 0"),
        (
            "IVF4,Flat,RFlat",
            as_many_candidates_as_memory_holds,
            r"k_factor is 1000000000.0; expected 1|k_factor 1e\+09 out of valid range",
        ),
    ],
)
def test_what_a_rare_query_would_follow_out_of_the_index_is_found(
    tmp_path: Path, factory: str, change: Callable[[Any], None], message: str
) -> None:
    index = built(factory)
    change(index)
    with pytest.raises((InputError, RuntimeError), match=message):
        probe(written(index, tmp_path / "item.faiss"), N)


def test_an_index_of_another_kind_or_size_is_refused(tmp_path: Path) -> None:
    file = written(faiss.IndexIDMap(faiss.IndexFlatIP(D)), tmp_path / "item.faiss")
    with pytest.raises(InputError, match="it holds an IndexIDMap; expected one of IndexFlat, IndexFlatIP"):
        probe(file, N)
    with pytest.raises(InputError, match="it has 300 vectors; expected 301"):
        probe(written(built("SQ8"), file), N + 1)


def test_a_process_probes_the_file_of_that_sum(tmp_path: Path) -> None:
    file = written(built("HNSW4"), tmp_path / "item.faiss")
    probe_in_process(file, sha256_of(file), N)
    with pytest.raises(InputError, match=r"item\.faiss is no sound index: it has sha256 .+; expected 0000"):
        probe_in_process(file, "0" * 64, N)
    data = bytearray(file.read_bytes())
    data[:4] = b"xxxx"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"item\.faiss is no sound index: \S.+ not recognized"):
        probe_in_process(file, sha256_of(file), N)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (-signal.SIGSEGV, "", "it ends the process that opens and searches it, by SIGSEGV"),
        (-signal.SIGXCPU, "", "FAISS takes more than 30 s of CPU time for it"),
        (3, "", "FAISS takes far more memory for it than it has bytes"),
        (2, "std::bad_alloc", "FAISS takes far more memory for it than it has bytes"),
        (2, "it has 3 lists", "it has 3 lists"),
        (1, "Traceback", "its probe ended with status 1: Traceback"),
    ],
)
def test_how_a_probe_ended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str, expected: str
) -> None:
    ended = subprocess.CompletedProcess([], status, b"", said.encode())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    (tmp_path / "item.faiss").write_bytes(b"x")
    with pytest.raises(InputError) as refused:
        probe_in_process(tmp_path / "item.faiss", "0" * 64, N)
    assert str(refused.value) == f"{tmp_path / 'item.faiss'} is no sound index: {expected}"


def test_a_probe_that_hangs_or_cannot_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(error: Exception) -> Callable[..., None]:
        def raising(*_: object, **__: object) -> None:
            raise error

        return raising

    (tmp_path / "item.faiss").write_bytes(b"x")
    for error, message in (
        (subprocess.TimeoutExpired("probe", 300), "its probe takes longer than 300 s"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "no process can be started"),
    ):
        monkeypatch.setattr(subprocess, "run", run(error))
        with pytest.raises(InputError, match=message):
            probe_in_process(tmp_path / "item.faiss", "0" * 64, N)


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were probed; nothing is known at first."""
    found: list[Path] = []
    monkeypatch.setattr(probed_indexes, "_own", set())
    monkeypatch.setattr(probed_indexes, "probe_in_process", lambda path, sha256, n: found.append(path))
    return found


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another process."""
    monkeypatch.setattr(probed_indexes, "_own", set())


def test_a_file_is_probed_once_by_all_processes_of_a_folder(
    tmp_path: Path, probes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = ProbedIndexes(tmp_path / "data")
    for _ in range(2):
        known.check(tmp_path / "a", "a" * 64, N)
        known.check(tmp_path / "elsewhere", "a" * 64, N)
        forget(monkeypatch)
    assert probes == [tmp_path / "a"]
    known.check(tmp_path / "b", "b" * 64, N)
    forget(monkeypatch)
    known.check(tmp_path / "a", "a" * 64, N + 1)
    assert probes[1:] == [tmp_path / "b", tmp_path / "a"]


def test_workers_that_start_together_probe_once(
    tmp_path: Path, probes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads in their place: each finds that nothing is known, and waits for the lock."""
    n_workers = 4
    all_there = threading.Barrier(n_workers)

    class Forgetful(set[str]):
        def __contains__(self, _: object) -> bool:
            all_there.wait()
            return False

    monkeypatch.setattr(probed_indexes, "_own", Forgetful())
    with ThreadPoolExecutor(n_workers) as workers:
        known = ProbedIndexes(tmp_path / "data")
        list(workers.map(lambda _: known.check(tmp_path / "a", "a" * 64, N), range(n_workers)))
    assert probes == [tmp_path / "a"]


def test_the_record_stays_short(tmp_path: Path, probes: list[Path]) -> None:
    known = ProbedIndexes(tmp_path)
    for number in range(MOST_RECORDED + 3):
        known.check(tmp_path / "a", f"{number:064}", N)
    assert len(known._recorded()) == MOST_RECORDED


@pytest.mark.parametrize("record", [b"", b"{}", b"[" * 5_000])
def test_a_damaged_record_or_none_means_a_probe(tmp_path: Path, probes: list[Path], record: bytes) -> None:
    (tmp_path / RECORD).write_bytes(record)
    ProbedIndexes(tmp_path).check(tmp_path / "a", "a" * 64, N)
    (tmp_path / "taken").write_text("a file has the folder's place")
    ProbedIndexes(tmp_path / "taken").check(tmp_path / "b", "b" * 64, N)
    ProbedIndexes().check(tmp_path / "c", "c" * 64, N)
    assert [path.name for path in probes] == ["a", "b", "c"]


def test_what_this_process_wrote_is_not_probed_and_what_others_wrote_is(
    tmp_path: Path, probes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_small_bundle(tmp_path, factory="IVF4,Flat")
    reindexed = reindex(bundle, "HNSW4", created_at=open_bundle(bundle).manifest.created_at)
    for path in (bundle, reindexed):
        open_bundle(path).index()
    assert probes == []
    forget(monkeypatch)
    for path in (bundle, reindexed):
        open_bundle(path).index()
    assert probes == [bundle / INDEX, reindexed / INDEX]


def test_a_flat_index_is_made_of_the_embeddings_whatever_its_file_holds(tmp_path: Path, probes: list[Path]) -> None:
    bundle = open_bundle(write_small_bundle(tmp_path))
    expected = bundle.index().search(bundle.user_embeddings, 10)
    other = with_index(bundle.path, lambda file: file.write_bytes(b"\xff" * file.stat().st_size))
    found = open_bundle(other).index().search(bundle.user_embeddings, 10)
    assert all(np.array_equal(one, another) for one, another in zip(found, expected, strict=True))
    assert probes == []


def test_a_crafted_index_with_right_sums_is_refused_where_a_bundle_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def craft(file: Path) -> None:
        index = faiss.read_index(str(file))
        faiss.rev_swig_ptr(index.invlists.get_ids(0), 1)[0] = 2**40
        faiss.write_index(index, str(file))

    crafted = with_index(write_small_bundle(tmp_path, factory="IVF4,Flat"), craft)
    forget(monkeypatch)
    with pytest.raises(BundleError, match=r"item\.faiss is no sound index: its rows run from \d+ to 1099511627776"):
        open_bundle(crafted).index()
    failures = {check.name: check.found for check in check_bundle(crafted, None).failures}
    assert "its rows run from" in failures["index recall@20"]


def test_a_mapped_flat_index_searches_as_one_in_memory_and_copies_nothing(tmp_path: Path) -> None:
    bundle = open_bundle(write_small_bundle(tmp_path, n_items=500))
    index, copied = bundle.index(), ItemIndex.build(np.array(bundle.item_embeddings))
    for found, expected in zip(*(one.search(bundle.user_embeddings, 20) for one in (index, copied)), strict=True):
        np.testing.assert_array_equal(found, expected)
    flat = index.engine.index
    assert faiss.rev_swig_ptr(flat.get_xb(), 1).ctypes.data == bundle.item_embeddings.ctypes.data
    np.testing.assert_array_equal(np.load(bundle.path / "item_embeddings.npy"), bundle.item_embeddings)
    assert not bundle.item_embeddings.flags.writeable


@pytest.mark.parametrize(
    ("work", "status"),
    [("bytearray(1 << 36)", OUT_OF_MEMORY), ("[None for _ in iter(int, 1)]", -signal.SIGXCPU)],
    ids=["memory", "time"],
)
def test_a_probe_that_takes_too_much_ends(tmp_path: Path, work: str, status: int) -> None:
    """In place of FAISS, which takes as much for a file that no check has found yet."""
    (tmp_path / "item.faiss").write_bytes(b"x")
    script = (
        "import sys; from index.probing import probe\n"
        "probe.cpu_seconds = lambda n_bytes: 1\n"
        f"probe.probe = lambda path, n: {work}\n"
        "probe.main()"
    )
    arguments = [str(tmp_path / "item.faiss"), "3", sha256_of(tmp_path / "item.faiss")]
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=60, check=False)
    assert ended.returncode == status, ended.stderr
