"""The kinds of index that suit a number of vectors, and the search settings to try with each.

`kinds_for(n, d)` lists them. `ItemIndex.build(vectors, kind.factory)` builds one, once for all its settings;
`index.with_settings(settings)` gives it the settings of one try, and `index.settings` holds what a manifest stores and
`ItemIndex.read` takes again. `index.engine.takes_selector` tells whether a search can be restricted to given rows.
Every kind is searched by inner product (index/building.py), and its candidates are scored again by the full vectors.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, isqrt, log2
from typing import NamedTuple

from index.flat import FLAT

_LISTS_PER_ROOT = 2.5  # lists, in roots of the number of vectors: more take longer to build and to choose among
_PROBES = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8, 16)  # lists probed, in roots of their number
_EXPLORED = (32, 64, 128, 256, 512, 1_024)  # ef_search
_RERANKS = (4, 8, 16, 32, 64, 128)
_MOST_IN_GRAPH = 2_000_000  # HNSW takes half an hour and more beyond, on one thread
_WIDE = 128  # dimensions, from which on a projection saves time
_FEWEST = 1_000  # below, only exact search is worth a thought


class KindOfIndex(NamedTuple):
    """A factory string and the settings to try: each searches at least as far as the one before, in every setting."""

    factory: str
    settings: tuple[Mapping[str, int], ...] = ({},)


def kinds_for(n: int, d: int) -> list[KindOfIndex]:
    """The kinds that may be the fastest for n vectors of d dimensions at some recall, the exact one first."""
    exact = [KindOfIndex(FLAT)]
    return exact if n < _FEWEST else [*exact, *_flat(d), *_graphs(n), *_lists(n, d)]


def _flat(d: int) -> Iterator[KindOfIndex]:
    yield KindOfIndex("SQ8")
    if d % 2 == 0:
        yield KindOfIndex(f"PQ{d // 2}x4fs", _each("rerank", _RERANKS))
    yield KindOfIndex(f"RR{d},RaBitQfs", _each("rerank", _RERANKS))


def _graphs(n: int) -> Iterator[KindOfIndex]:
    if n <= _MOST_IN_GRAPH:
        yield KindOfIndex("HNSW32", _each("ef_search", _EXPLORED))
        yield KindOfIndex("HNSW32_SQ8", _each("ef_search", _EXPLORED))


def _lists(n: int, d: int) -> Iterator[KindOfIndex]:
    nlist = 1 << round(log2(_LISTS_PER_ROOT * isqrt(n)))
    probes = [*dict.fromkeys(min(nlist, ceil(roots * isqrt(nlist))) for roots in _PROBES)]
    for codes in ("Flat", "SQfp16", "SQ8"):
        yield KindOfIndex(f"IVF{nlist},{codes}", _each("nprobe", probes))
    yield KindOfIndex(f"IVF{nlist},SQ4", tuple({"nprobe": nprobe, "rerank": 2} for nprobe in probes))
    if d >= _WIDE:
        yield KindOfIndex(f"PCA{d // 4},IVF{nlist},SQ8", _with_rerank(probes))


def _each(setting: str, values: Sequence[int]) -> tuple[Mapping[str, int], ...]:
    return tuple({setting: value} for value in values)


def _with_rerank(probes: Sequence[int]) -> tuple[Mapping[str, int], ...]:
    """A longer list of candidates with every second number of lists, each number first tried with the shorter one."""
    pairs = [(nprobe, _RERANKS[(i + more) // 2]) for i, nprobe in enumerate(probes) for more in (0, 1)]
    return tuple({"nprobe": nprobe, "rerank": rerank} for nprobe, rerank in dict.fromkeys(pairs))
