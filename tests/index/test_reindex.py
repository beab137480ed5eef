from datetime import timedelta

import numpy as np
import pytest
from bundles import MADE_AT, write_small_bundle

from index.auto.choice import AutoLimits
from index.bundle import BundleError, open_bundle
from index.errors import InputError
from index.live.live_index import LiveIndex
from index.registry import Registry
from index.reindex import reindex

LATER = MADE_AT + timedelta(hours=1)


def test_a_sibling_has_another_index_and_shares_every_other_file(tmp_path):
    path = write_small_bundle(tmp_path, n_items=300)
    reindexed_path = reindex(path, "IVF8,Flat", created_at=LATER, settings={"nprobe": 8})
    old, new = open_bundle(path), open_bundle(reindexed_path)
    assert Registry(tmp_path).ids() == [new.bundle_id, old.bundle_id]
    assert (new.manifest.index.factory, new.manifest.index.settings) == ("IVF8,Flat", {"nprobe": 8})
    assert new.manifest.index.recall["recall@20"] == 1.0
    assert new.manifest.created_at == LATER
    for name in old.manifest.files:
        assert (path / name).samefile(reindexed_path / name) == (name != "index/item.faiss")
    rows, _ = new.index().search(new.user_embeddings[:5], 10)
    np.testing.assert_array_equal(rows, old.index().search(old.user_embeddings[:5], 10)[0])


def test_a_sibling_outlives_the_bundle_that_it_was_made_from(tmp_path):
    path = write_small_bundle(tmp_path)
    reindexed = reindex(path, "HNSW8", created_at=LATER)
    Registry(tmp_path).prune(1)
    assert not path.exists()
    assert open_bundle(reindexed).index().settings == {"ef_search": 64}


def test_a_damaged_bundle_gets_no_sibling(tmp_path):
    path = write_small_bundle(tmp_path)
    data = bytearray((path / "fold_in.npy").read_bytes())
    data[-1] ^= 1
    (path / "fold_in.npy").write_bytes(bytes(data))
    with pytest.raises(BundleError, match="damaged or edited"):
        reindex(path, "HNSW8", created_at=LATER)
    assert Registry(tmp_path).ids() == [path.name]


def test_a_factory_that_does_not_fit_leaves_nothing(tmp_path):
    path = write_small_bundle(tmp_path)
    with pytest.raises(InputError, match="does not fit 40 vectors of 8"):
        reindex(path, "IVF4096,Flat", created_at=LATER)
    assert list(tmp_path.iterdir()) == [path]


def test_the_bundles_own_kind_keeps_its_settings_and_what_it_promises(tmp_path):
    path = write_small_bundle(tmp_path, n_items=300)
    chosen = reindex(path, "IVF8,Flat", created_at=LATER, settings={"nprobe": 7})
    again = open_bundle(reindex(chosen, "IVF8,Flat", created_at=LATER + timedelta(hours=1))).manifest.index
    assert again == open_bundle(chosen).manifest.index
    assert again.settings == {"nprobe": 7}
    other = open_bundle(
        reindex(chosen, "IVF8,Flat", created_at=LATER + timedelta(hours=2), settings={"nprobe": 2})
    ).manifest.index
    assert other.settings == {"nprobe": 2}


def test_a_live_index_is_compacted_into_the_bundles_kind_with_its_settings(tmp_path):
    bundle = open_bundle(
        reindex(write_small_bundle(tmp_path, n_items=300), "IVF8,Flat", created_at=LATER, settings={"nprobe": 7})
    )
    live = LiveIndex(tmp_path / "delta", bundle.index(), bundle.item_ids, bundle.bundle_id, build=bundle.index_of)
    live.change({"new": bundle.item_embeddings[3] * 2})
    assert live.compact()
    main = live.snapshot.main
    live.close()
    assert (main.settings, len(main)) == ({"nprobe": 7}, 301)


def test_an_index_is_chosen_where_no_factory_is_named(tmp_path):
    path = write_small_bundle(tmp_path, n_users=700, n_items=300)
    manifest = open_bundle(reindex(path, created_at=LATER, limits=AutoLimits(exact_below=0))).manifest
    assert manifest.index.promised == 0.99
    assert [one.outcome for one in manifest.index.tried].count("kept") == 1
    assert open_bundle(reindex(path, created_at=LATER)).manifest.index.why.startswith(
        "exact: 300 items of 8 dimensions"
    )
