"""Checks that what a FAISS index refers to exists: rows, list and graph links, and as many numbers as sizes say.

FAISS checks a part of this when it reads a file, and nothing when it searches: a link to a row that does not exist
reads memory of others, or ends the process, at the first query that follows it.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.errors import InputError
from index.probing.code_structure import (
    between,
    fast_scan,
    flat,
    product,
    product_fast_scan,
    product_quantizer,
    rabit_quantizer,
    rabitq,
    rabitq_fast_scan,
    require,
    scalar,
    scalar_quantizer,
    within,
)

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

MOST_EFFORT = 1_000_000  # candidates of a search, as the file sets them: each takes memory at each search
MOST_LEVELS = 64  # of a graph
NO_LINK = -1


def check_structure(index: Any, n: int, depth: int = 0) -> None:
    """InputError unless the index has n vectors, is of a kind in CHECKS, and refers to nothing that is not there."""
    index = faiss.downcast_index(index)
    kind = type(index).__name__
    if kind not in CHECKS or depth > 3:
        raise InputError(f"it holds an {kind}; expected one of {', '.join(CHECKS)}")
    require("vectors", index.ntotal, n)
    if index.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2) or not 1 <= index.d <= 1 << 20:
        raise InputError(f"it is of metric {index.metric_type} and {index.d} dimensions; expected inner product or L2")
    if not index.is_trained:
        raise InputError(f"its {kind} is not trained; expected a whole index")
    CHECKS[kind](index, depth)


# Inverted lists


def _ivf(index: Any, depth: int) -> None:
    check_structure(index.quantizer, index.nlist, depth + 1)
    require("dimensions in its quantizer", index.quantizer.d, index.d)
    require("direct map", index.direct_map.type, faiss.DirectMap.NoMap)
    between("number of probed lists", index.nprobe, 1, max(MOST_EFFORT, index.nlist))
    lists = faiss.downcast_InvertedLists(index.invlists)
    if type(lists) not in (faiss.ArrayInvertedLists, faiss.BlockInvertedLists):
        raise InputError(f"its lists are {type(lists).__name__}; expected them in the file")
    require("lists", lists.nlist, index.nlist)
    _rows_of_lists(lists, index)
    if isinstance(lists, faiss.BlockInvertedLists):
        require("vectors a block", lists.n_per_block, index.bbs)
        require("bytes a block", lists.block_size, index.get_block_stride())
        for number, n_bytes in enumerate(_bytes_of_blocks(lists)):
            n_blocks = -(-lists.list_size(number) // index.bbs)
            require(f"bytes in list {number}", n_bytes, n_blocks * lists.block_size)
    else:
        require("bytes a code", lists.code_size, index.code_size)


def _rows_of_lists(lists: Any, index: Any) -> None:
    """Each row is in one list, once."""
    seen, found = np.zeros(index.ntotal, np.bool_), 0
    for number in range(index.nlist):
        if size := lists.list_size(number):
            rows = faiss.rev_swig_ptr(lists.get_ids(number), size)
            within("rows", rows, 0, index.ntotal)
            seen[rows] = True
            found += size
    require("rows in its lists", found, index.ntotal)
    require("different rows in its lists", int(np.count_nonzero(seen)), index.ntotal)


def _bytes_of_blocks(lists: Any) -> list[int]:
    """The bytes of each list's blocks, from what FAISS would write: no other way leads to their lengths.

    It writes five numbers, then for each list the ids and the blocks, each a length followed by that many elements.
    """
    lengths: list[int] = []  # of ids and blocks in turn
    numbers, elements_follow = 5, False

    def take(data: Any) -> None:
        nonlocal numbers, elements_follow
        if numbers:
            numbers -= 1
        elif elements_follow:
            elements_follow = False
        elif len(data):
            lengths.append(int.from_bytes(data, "little"))
            elements_follow = lengths[-1] > 0

    faiss.write_InvertedLists(lists, faiss.PyCallbackIOWriter(take, 1 << 40))
    return lengths[1::2]


def _ivf_flat(index: Any, depth: int) -> None:
    require("bytes a vector", index.code_size, 4 * index.d)
    _ivf(index, depth)


def _ivf_scalar(index: Any, depth: int) -> None:
    scalar_quantizer(index.sq, index.d)
    require("bytes a vector", index.code_size, index.sq.code_size)
    _ivf(index, depth)


def _ivf_product(index: Any, depth: int) -> None:
    product_quantizer(index.pq, index.d)
    require("bytes a vector", index.code_size, index.pq.code_size)
    between("Hamming threshold", index.polysemous_ht, 0, 0)
    _ivf(index, depth)


def _ivf_rabitq(index: Any, depth: int) -> None:
    rabit_quantizer(index.rabitq, index.d)
    between("bits of a query", index.qb, 0, 8)
    require("bytes a vector", index.code_size, index.rabitq.code_size)
    _ivf(index, depth)


def _ivf_product_fast_scan(index: Any, depth: int) -> None:
    product_quantizer(index.pq, index.d)
    fast_scan(index, index.pq.M)
    _ivf(index, depth)


def _ivf_rabitq_fast_scan(index: Any, depth: int) -> None:
    rabit_quantizer(index.rabitq, index.d)
    between("bits of a query", index.qb, 0, 8)
    fast_scan(index, (index.d + 3) // 4)
    _ivf(index, depth)


# Graphs


def _hnsw(index: Any, depth: int) -> None:
    check_structure(index.storage, index.ntotal, depth + 1)
    require("dimensions in its storage", index.storage.d, index.d)
    graph, n = index.hnsw, index.ntotal
    between("ef_search", graph.efSearch, 1, MOST_EFFORT)
    levels = faiss.vector_to_array(graph.levels)  # (n,): how many levels each row is on
    offsets = faiss.vector_to_array(graph.offsets).astype(np.int64)  # (n + 1,) of its links
    widths = faiss.vector_to_array(graph.cum_nneighbor_per_level)  # of links up to each level
    _levels(levels, offsets, widths, n)
    require("links", graph.neighbors.size(), int(offsets[-1]))
    require("levels above its entry", graph.max_level, int(levels.max()) - 1)
    between("entry", graph.entry_point, 0, n - 1)
    require("levels of its entry", int(levels[graph.entry_point]), graph.max_level + 1)
    links = faiss.rev_swig_ptr(graph.neighbors.data(), int(offsets[-1]))
    within("links", links, NO_LINK, n)
    for level, (start, end) in enumerate(pairwise(widths.tolist())):
        if level:  # at level 0 is every row
            _links_of_level(links, offsets[:-1][levels > level], start, end, levels > level)


def _levels(levels: Array, offsets: Array, widths: Array, n: int) -> None:
    """Each row has as many links as its levels have."""
    require("levels of rows", len(levels), n)
    require("offsets of links", len(offsets), n + 1)
    between("number of levels", len(widths), 2, MOST_LEVELS)
    within("links a level", np.diff(widths), 0, MOST_EFFORT)
    require("links below the lowest level", int(widths[0]), 0)
    within("levels of rows", levels, 1, len(widths))
    if offsets[0] != 0 or not np.array_equal(np.diff(offsets), widths[levels]):
        raise InputError("its offsets of links differ from its rows' levels; expected as many links as levels have")


def _links_of_level(links: Array, offsets: Array, start: int, end: int, present: Array) -> None:
    places = offsets[:, None] + np.arange(start, end)  # (rows of the level, links of one)
    linked = links[places]
    if not present[linked[linked != NO_LINK]].all():
        raise InputError("its graph links a row to one that is not on that level; expected links within a level")


def _nsg(index: Any, depth: int) -> None:
    check_structure(index.storage, index.ntotal, depth + 1)
    require("dimensions in its storage", index.storage.d, index.d)
    graph = index.nsg
    require("rows in its graph", graph.ntotal, index.ntotal)
    require("finished graph", int(graph.is_built), 1)
    between("search_L", graph.search_L, 1, index.ntotal)  # FAISS hangs beyond
    between("entry", graph.enterpoint, 0, index.ntotal - 1)
    links = graph.get_final_graph()
    require("rows in its graph", links.N, index.ntotal)
    between("links a row", links.K, 1, MOST_EFFORT)
    within("links", faiss.rev_swig_ptr(links.data, links.N * links.K), NO_LINK, index.ntotal)


# Indexes over others


def _transformed(index: Any, depth: int) -> None:
    size = index.d
    between("number of transforms", index.chain.size(), 0, 8)
    for number in range(index.chain.size()):
        transform = faiss.downcast_VectorTransform(index.chain.at(number))
        require("dimensions into a transform", transform.d_in, size)
        size = transform.d_out
        _transform(transform)
    require("dimensions after its transforms", index.index.d, size)
    check_structure(index.index, index.ntotal, depth + 1)


def _transform(transform: Any) -> None:
    if type(transform) is faiss.NormalizationTransform:
        require("dimensions out of a norm", transform.d_out, transform.d_in)
    elif isinstance(transform, faiss.LinearTransform):
        require("numbers in a matrix", transform.A.size(), transform.d_in * transform.d_out)
        require("numbers in a bias", transform.b.size(), transform.d_out if transform.have_bias else transform.b.size())
    elif type(transform) is faiss.CenteringTransform:
        require("numbers in a mean", transform.mean.size(), transform.d_in)
        require("dimensions out of a mean", transform.d_out, transform.d_in)
    else:
        raise InputError(f"it has a {type(transform).__name__}; expected a linear transform, a norm or a mean")


def _refined(index: Any, depth: int) -> None:
    between("k_factor", index.k_factor, 1, 10_000)
    for part in (index.base_index, index.refine_index):
        require("dimensions in a part", part.d, index.d)
        check_structure(part, index.ntotal, depth + 1)


CHECKS: dict[str, Callable[[Any, int], None]] = {
    "IndexFlat": flat,
    "IndexFlatIP": flat,
    "IndexFlatL2": flat,
    "IndexScalarQuantizer": scalar,
    "IndexPQ": product,
    "IndexPQFastScan": product_fast_scan,
    "IndexRaBitQ": rabitq,
    "IndexRaBitQFastScan": rabitq_fast_scan,
    "IndexIVFFlat": _ivf_flat,
    "IndexIVFScalarQuantizer": _ivf_scalar,
    "IndexIVFPQ": _ivf_product,
    "IndexIVFRaBitQ": _ivf_rabitq,
    "IndexIVFPQFastScan": _ivf_product_fast_scan,
    "IndexIVFRaBitQFastScan": _ivf_rabitq_fast_scan,
    "IndexHNSWFlat": _hnsw,
    "IndexHNSWSQ": _hnsw,
    "IndexHNSWPQ": _hnsw,
    "IndexNSGFlat": _nsg,
    "IndexNSGSQ": _nsg,
    "IndexNSGPQ": _nsg,
    "IndexPreTransform": _transformed,
    "IndexRefine": _refined,
    "IndexRefineFlat": _refined,
}
