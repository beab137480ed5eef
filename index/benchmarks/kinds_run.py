"""Measures every kind of index for a size or a bundle, without what an earlier run has measured."""

from collections.abc import Callable, Sequence

import numpy as np

from index.benchmarks.kinds_benchmark import KindSpeed, Measured, Wanted, measure_kind, reason_to_skip
from index.benchmarks.kinds_data import BenchData, bundle_data, generated_data, remove_generated
from index.bundle import Bundle
from index.flat import FLAT
from index.kinds import KindOfIndex, kinds_for

Tell = Callable[[str], None]
GENERATED = "generated"


def measure_size(n: int, d: int, wanted: Wanted, update: Tell, skipped: Tell) -> list[KindSpeed]:
    """The lines of all kinds over n generated vectors of d dimensions that fit into memory.

    `update` is told what is being done, `skipped` which kinds are left out, and why. The vectors are removed once all
    kinds are measured.
    """
    what = Measured(GENERATED, n, d, wanted)
    kinds = _wanted_kinds(n, d, wanted)
    if missing := [kind for kind in kinds if what.lines(kind) is None]:
        update(f"generating {n:,} x {d}")
        data = generated_data(n, d, wanted.k, wanted.queries, wanted.rows)
        for kind in missing:
            _measure(what, kind, data, update, skipped)
    if not wanted.factories:
        remove_generated(n, d, wanted.k, wanted.queries, wanted.rows)
    return _all_lines(what, kinds)


def measure_bundle(bundle: Bundle, wanted: Wanted, update: Tell, skipped: Tell) -> list[KindSpeed]:
    """The lines of all kinds over a bundle's items."""
    n, d = bundle.item_embeddings.shape
    what = Measured(bundle.bundle_id, n, d, wanted)
    kinds = _wanted_kinds(n, d, wanted)
    if missing := [kind for kind in kinds if what.lines(kind) is None]:
        data = bundle_data(bundle, wanted.k, wanted.queries)
        for kind in missing:
            _measure(what, kind, data, update, skipped)
    return _all_lines(what, kinds)


def _wanted_kinds(n: int, d: int, wanted: Wanted) -> list[KindOfIndex]:
    return [kind for kind in kinds_for(n, d) if not wanted.factories or kind.factory in {FLAT, *wanted.factories}]


def _measure(what: Measured, kind: KindOfIndex, data: BenchData, update: Tell, skipped: Tell) -> None:
    if reason := reason_to_skip(kind, what.items, what.size):
        skipped(reason)
        return
    doing = f"{what.items:,} x {what.size}: {kind.factory}"
    update(doing)

    def tell(done: int) -> None:
        update(f"{doing}, {done / what.items:.0%} added" if done < what.items else f"{doing}, searching")

    exact = what.lines(KindOfIndex(FLAT))
    measure_kind(what, kind, data, exact[0].cpu_ms if exact else np.inf, tell)


def _all_lines(what: Measured, kinds: Sequence[KindOfIndex]) -> list[KindSpeed]:
    return [line for kind in kinds for line in what.lines(kind) or ()]
