"""Checks that the codes of a FAISS index, and what they are decoded by, have as many numbers as their sizes say."""

from typing import Any

import faiss as faiss_with_stubs
import numpy as np

from index.errors import InputError

Array = np.ndarray[Any, Any]

faiss: Any = faiss_with_stubs  # its stubs lack half of what it has

FAST_SCAN_BLOCK = 32  # vectors; blocks are multiples of it
MOST_BLOCK = 256


def require(what: str, found: int, expected: int) -> None:
    """InputError unless the number is the expected one."""
    if found != expected:
        raise InputError(f"it has {found} {what}; expected {expected}")


def within(what: str, rows: Array, low: int, n: int) -> None:
    """InputError unless all rows are in low..n-1."""
    if len(rows) and not (low <= rows.min() and rows.max() < n):
        raise InputError(f"its {what} run from {rows.min()} to {rows.max()}; expected {low}..{n - 1}")


def between(what: str, found: float, low: float, high: float) -> None:
    """InputError unless the number is in a range, both ends included."""
    if not low <= found <= high:  # not a number, too
        raise InputError(f"its {what} is {found}; expected {low} to {high}")


# Codes of vectors, one after another


def flat(index: Any, _: int) -> None:
    """Check an IndexFlat."""
    require("bytes a vector", index.code_size, 4 * index.d)
    _codes(index, index.code_size)


def _codes(index: Any, code_size: int) -> None:
    require("bytes a vector", index.code_size, code_size)
    require("bytes of codes", index.codes.size(), index.ntotal * code_size)


def scalar(index: Any, _: int) -> None:
    """Check an IndexScalarQuantizer."""
    scalar_quantizer(index.sq, index.d)
    _codes(index, index.sq.code_size)


def scalar_quantizer(sq: Any, d: int) -> None:
    """Check a ScalarQuantizer of d dimensions."""
    expected = faiss.ScalarQuantizer(d, sq.qtype)
    require("dimensions in its quantizer", sq.d, d)
    require("bytes a code", sq.code_size, expected.code_size)
    direct = (sq.QT_fp16, sq.QT_bf16, sq.QT_8bit_direct, sq.QT_8bit_direct_signed)
    uniform = (sq.QT_8bit_uniform, sq.QT_4bit_uniform)
    if sq.qtype not in (*direct, *uniform, sq.QT_8bit, sq.QT_6bit, sq.QT_4bit):
        raise InputError(f"its scalar quantizer is of type {sq.qtype}; expected 4 to 16 bits")
    ranges = 0 if sq.qtype in direct else 2 if sq.qtype in uniform else 2 * d
    require("ranges in its quantizer", sq.trained.size(), ranges)


def product(index: Any, _: int) -> None:
    """Check an IndexPQ."""
    require("search type", index.search_type, faiss.IndexPQ.ST_PQ)
    product_quantizer(index.pq, index.d)
    _codes(index, index.pq.code_size)


def product_quantizer(pq: Any, d: int) -> None:
    """Check a ProductQuantizer of d dimensions."""
    require("dimensions in its quantizer", pq.d, d)
    between("number of subquantizers", pq.M, 1, d)
    between("bits a subquantizer", pq.nbits, 1, 16)
    require("dimensions in its subquantizers", pq.M * pq.dsub, d)
    require("entries a codebook", pq.ksub, 1 << pq.nbits)
    require("bytes a code", pq.code_size, (pq.M * pq.nbits + 7) // 8)
    require("numbers in its codebooks", pq.centroids.size(), d << pq.nbits)


def rabitq(index: Any, _: int) -> None:
    """Check an IndexRaBitQ."""
    rabit_quantizer(index.rabitq, index.d)
    require("numbers in its center", index.center.size(), index.d)
    between("bits of a query", index.qb, 0, 8)
    _codes(index, index.rabitq.code_size)


def rabit_quantizer(quantizer: Any, d: int) -> None:
    """Check a RaBitQuantizer of d dimensions."""
    require("dimensions in its quantizer", quantizer.d, d)
    between("bits a dimension", quantizer.nb_bits, 1, 9)
    require("bytes a code", quantizer.code_size, quantizer.compute_code_size(d, quantizer.nb_bits))


# Codes in blocks, for a scan with registers


def product_fast_scan(index: Any, _: int) -> None:
    """Check an IndexPQFastScan."""
    product_quantizer(index.pq, index.d)
    fast_scan(index, index.pq.M)
    _blocks(index)


def rabitq_fast_scan(index: Any, _: int) -> None:
    """Check an IndexRaBitQFastScan."""
    rabit_quantizer(index.rabitq, index.d)
    require("numbers in its center", index.center.size(), index.d)
    between("bits of a query", index.qb, 0, 8)
    fast_scan(index, (index.d + 3) // 4)
    _blocks(index)


def fast_scan(index: Any, m: int) -> None:
    """Check the sizes of a scan over codes of m subquantizers, in one list or in many."""
    require("subquantizers", index.M, m)
    require("subquantizers, padded", index.M2, m + m % 2)
    require("bits a subquantizer", index.nbits, 4)
    require("entries a codebook", index.ksub, 16)
    require("implementation", index.implem, 0)
    require("vectors beyond blocks of 32", index.bbs % FAST_SCAN_BLOCK, 0)
    between("block", index.bbs, FAST_SCAN_BLOCK, MOST_BLOCK)


def _blocks(index: Any) -> None:
    n_blocks = -(-index.ntotal // index.bbs)
    require("places in blocks", index.ntotal2, n_blocks * index.bbs)
    require("bytes of codes", index.codes.size(), n_blocks * index.get_block_stride())
