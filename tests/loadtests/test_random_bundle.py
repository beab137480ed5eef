import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.bundle import open_bundle
from index.errors import InputError
from index.recency import Recency
from index.registry import Registry
from loadtests.random_bundle import HEAVY_USERS, RandomBundleSizes, heavy_users, publish_random, random_seen
from loadtests.workloads import zipf_rows


def test_a_random_bundle_is_valid_and_has_the_given_sizes(tmp_path):
    publish_random(
        tmp_path, RandomBundleSizes(n_items=40, n_users=30, seen_per_user=7, embedding_size=8), np.random.default_rng(0)
    )
    bundle = open_bundle(Registry(tmp_path).current())
    assert (len(bundle.item_ids), len(bundle.user_ids)) == (40, 30)
    assert bundle.item_embeddings.shape == (40, 8)
    assert [len(bundle.seen(row)) for row in range(30)] == [7] * 30


def test_a_random_bundle_may_weigh_past_items_by_recency(tmp_path):
    sizes = RandomBundleSizes(n_items=40, n_users=30, seen_per_user=7, embedding_size=8)
    publish_random(tmp_path, sizes, np.random.default_rng(0), recency=Recency(tau=3))
    bundle = open_bundle(Registry(tmp_path).current())
    assert bundle.recency == Recency(tau=3)
    assert not bundle.manifest.user_own


def test_a_few_more_users_may_have_seen_far_more(tmp_path):
    sizes = RandomBundleSizes(n_items=200, n_users=30, seen_per_user=7, embedding_size=8, heavy=(50, 120))
    publish_random(tmp_path, sizes, np.random.default_rng(0))
    bundle = open_bundle(Registry(tmp_path).current())
    assert len(bundle.seen(0)) == 7
    for n_seen in sizes.heavy:
        rows = [bundle.user_ids.row(user) for user in heavy_users(n_seen)]
        assert [len(set(bundle.seen(row).tolist())) for row in rows if row is not None] == [n_seen] * HEAVY_USERS


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_seen_items_are_distinct_and_exist(n_seen: int, more: int, seed: int):
    sizes = RandomBundleSizes(n_items=n_seen + more, n_users=20, seen_per_user=n_seen)
    seen = random_seen(sizes, np.random.default_rng(seed))
    assert seen.shape == (20, n_seen)
    assert seen.min() >= 0
    assert seen.max() < sizes.n_items
    assert all(len(set(rows)) == n_seen for rows in seen.tolist())


def test_more_seen_items_than_items_are_refused(tmp_path):
    with pytest.raises(InputError, match="6 seen per user of 5 items"):
        publish_random(tmp_path, RandomBundleSizes(n_items=5, n_users=1, seen_per_user=6), np.random.default_rng(0))


def test_the_second_most_frequent_row_is_half_as_frequent_as_the_first():
    rows = zipf_rows(1_000, 200_000, np.random.default_rng(0))
    first, second, third = np.sort(np.bincount(rows))[::-1][:3]
    assert first / second == pytest.approx(2, rel=0.05)
    assert first / third == pytest.approx(3, rel=0.05)
