"""Every kind of index in the table can be built and reaches a high recall, and each of its tries looks further."""

import numpy as np
import pytest

from index.benchmarks.clustered_vectors import clustered_vectors
from index.flat import FLAT
from index.item_index import ItemIndex, exact_search
from index.kinds import KindOfIndex, kinds_for

DATA = clustered_vectors(2_000, 128, n_queries=40)
KINDS = {kind.factory: kind for kind in kinds_for(*DATA.vectors.shape)}
_, BEST = exact_search(DATA.vectors, DATA.queries, 20, list(DATA.seen))


def recall(index: ItemIndex) -> float:
    _, found = index.search(DATA.queries, 20, list(DATA.seen))
    return float(np.mean(found >= BEST[:, -1:]))


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_kind_can_be_built_and_its_last_try_finds_nearly_everything(kind: KindOfIndex):
    index = ItemIndex.build(DATA.vectors, kind.factory)
    first, last = kind.settings[0], kind.settings[-1]
    recalls = [recall(index.with_settings(settings)) for settings in (first, last)]
    assert recalls[1] >= max(0.99, recalls[0])
    assert index.with_settings(last).settings == {name: value for name, value in last.items() if value > 1}


def test_each_try_looks_further_than_the_one_before_in_every_setting():
    for n, d in ((2_000, 64), (20_000, 256), (1_000_000, 64), (10_000_000, 256)):
        for kind in kinds_for(n, d):
            for before, after in zip(kind.settings, kind.settings[1:], strict=False):
                assert before != after
                assert before.keys() == after.keys()
                assert all(before[name] <= after[name] for name in before)


def test_few_vectors_are_searched_exactly_and_an_odd_number_of_dimensions_has_no_pairs():
    assert [kind.factory for kind in kinds_for(500, 64)] == [FLAT]
    assert not any("PQ" in kind.factory for kind in kinds_for(20_000, 33))


def test_a_graph_that_takes_hours_is_not_a_candidate():
    factories = [kind.factory for kind in kinds_for(10_000_000, 64)]
    assert not any(name.startswith("HNSW") for name in factories)
    assert "IVF8192,SQ8" in factories
