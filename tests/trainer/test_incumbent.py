from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bundles import MADE_AT, make_content
from worlds import topics_dataset

from index.bundle import Bundle, open_bundle, write_bundle
from index.invariants import fold_in_sums
from index.recency import Recency
from trainer.data import Dataset
from trainer.histories import Histories
from trainer.incumbent import folded_vectors

RECENCY = Recency(tau=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return topics_dataset(tmp_path_factory.mktemp("topics") / "data")


def trained(dataset: Dataset) -> Histories:
    return Histories.of(dataset.split("train"), dataset.n_users, dataset.n_items)


def bundle_of(dataset: Dataset, folder, seen: np.ndarray) -> Bundle:
    """A bundle with recency whose users had these items in training."""
    content = make_content(dataset.n_users, dataset.n_items, recency=RECENCY, has_own=False)
    offsets = trained(dataset).offsets
    users = fold_in_sums(content.fold_in, offsets, seen, RECENCY).astype(np.float32)
    ids = {"user_ids": dataset.user_ids, "item_ids": dataset.item_ids}
    lists = {"seen_offsets": offsets, "seen_items": seen, "user_embeddings": users}
    return open_bundle(write_bundle(folder, replace(content, **ids, **lists), created_at=MADE_AT))


def test_users_of_the_same_data_have_the_vectors_of_the_bundle(dataset, tmp_path):
    seen = trained(dataset).items
    bundle = bundle_of(dataset, tmp_path, seen)
    users, _ = folded_vectors(bundle, dataset)
    np.testing.assert_array_equal(users[:, :-1], bundle.user_embeddings)


def test_users_whose_items_came_in_another_order_are_folded_in_anew_by_recency(dataset, tmp_path):
    offsets, seen = trained(dataset).offsets, trained(dataset).items
    reversed_lists = np.concatenate([seen[start:end][::-1] for start, end in pairwise(offsets)])
    bundle = bundle_of(dataset, tmp_path, reversed_lists)
    users, _ = folded_vectors(bundle, dataset)
    expected = fold_in_sums(bundle.fold_in, offsets, seen, RECENCY)
    np.testing.assert_allclose(users[:, :-1], expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - bundle.user_embeddings).max() > 0.1
