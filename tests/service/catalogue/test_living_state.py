"""Stored items become rows of a bundle: new ones by their features, trained ones by their newest record."""

from pathlib import Path

import numpy as np
import pytest
from bundles import MADE_AT, make_content, make_features, make_living_content
from hypothesis import given
from hypothesis import strategies as st
from stored_items import deleted, put, stored

from index.bundle import Bundle, open_bundle, write_bundle
from index.content_path import ContentPath
from service.catalogue.living_state import NO_PATH, WAITING, LivingState

N = 40  # items of the bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("registry")
    return open_bundle(write_bundle(folder, make_living_content(), created_at=MADE_AT, factory="Flat"))


def test_a_new_item_has_a_row_behind_those_of_training_with_all_that_its_features_say(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("shoe", seed=1), stored("hat", seed=2)))
    living = state.snapshot().bundle
    expected = ContentPath.of(bundle).rows([make_features(1, seed=1)[0], make_features(1, seed=2)[0]])
    assert [living.item_ids.row(item) for item in ("item-3", "shoe", "hat", "coat")] == [3, N, N + 1, None]
    assert (len(living.item_ids), living.item_ids[N + 1], living.item_ids[3]) == (N + 2, "hat", "item-3")
    new = np.array([N, N + 1])
    np.testing.assert_array_equal(living.item_embeddings[new], expected.embeddings)
    np.testing.assert_array_equal(living.fold_in[new], expected.fold_in)
    np.testing.assert_array_equal(living.neighbours["image"][new], expected.neighbours["image"])
    np.testing.assert_allclose(sum(living.parts_of(new).values()), expected.embeddings, atol=1e-5)
    assert living.users_of(N).tolist() == []
    assert living.popularity_count[new].tolist() == [0, 0]
    assert living.item(N)["title"] == "Shoe"
    assert living.item(3) == bundle.item(3)


rows = st.integers(0, N + 2)


@given(st.lists(rows, max_size=9), st.slices(N + 3))
def test_a_table_with_living_rows_reads_like_the_whole_array(bundle, some, part):
    state = LivingState(bundle)
    state.apply(put(stored("a"), stored("b"), stored("c")))
    state.apply(put(stored("b", seed=99)))
    living = state.snapshot().bundle
    features = [make_features(1, seed=seed)[0] for seed in (sum(b"a"), 99, sum(b"c"))]
    whole = np.concatenate([bundle.fold_in, ContentPath.of(bundle).rows(features).fold_in])
    assert living.fold_in.shape == whole.shape
    found, chosen = living.fold_in, np.array(some, np.int64)
    for which in (chosen, part, *some):
        np.testing.assert_array_equal(found[which], whole[which])


def test_a_trained_item_keeps_its_vector_and_gets_its_newest_record(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("item-5", title="Renamed", categories=("rug", "wool"), attributes={"price": 3.5})))
    living = state.snapshot()
    assert living.bundle.item_ids.row("item-5") == 5
    np.testing.assert_array_equal(living.bundle.item_embeddings[5], bundle.item_embeddings[5])
    assert living.bundle.item(5) == {
        "title": "Renamed",
        "category": "rug",
        "attributes": {"price": 3.5, "categories": ["rug", "wool"]},
        "image": None,
    }
    assert living.changed_records[5]["available"] is True
    assert (len(living.bundle.item_ids), living.closed.tolist()) == (N, [])


def test_unavailable_and_deleted_items_are_closed_until_they_come_back(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("shoe"), stored("item-1", available=False)) + deleted("item-2"))
    assert state.snapshot().closed.tolist() == [1, 2]
    state.apply(deleted("shoe") + put(stored("item-1"), stored("item-2")))
    assert state.snapshot().closed.tolist() == [N]
    state.apply(put(stored("shoe")))
    living = state.snapshot()
    assert (living.closed.tolist(), living.bundle.item_ids.row("shoe")) == ([], N)


def test_older_states_keep_what_they_were(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("shoe", seed=1, title="old")))
    before = state.snapshot()
    kept = before.bundle.item_embeddings[N].copy()
    for seed in range(200):  # more than once the unused slots are dropped
        state.apply(put(stored("shoe", seed=seed, title="new"), stored(f"hat-{seed}")))
    after = state.snapshot()
    np.testing.assert_array_equal(before.bundle.item_embeddings[N], kept)
    assert (before.bundle.item(N)["title"], after.bundle.item(N)["title"]) == ("old", "new")
    assert before.bundle.item_ids.row("hat-1") is None
    assert (len(before.bundle.item_ids), len(after.bundle.item_ids)) == (N + 1, N + 201)
    expected = ContentPath.of(bundle).rows([make_features(1, seed=199)[0]]).embeddings[0]
    np.testing.assert_array_equal(after.bundle.item_embeddings[N], expected)
    slots = after.slot_rows[after.slot_rows >= 0]
    assert sorted(slots.tolist()) == list(range(N, N + 201))


def test_a_state_tells_the_changes_since_the_state_before(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("shoe"), stored("item-4")))
    first = state.snapshot()
    state.apply(put(stored("shoe", attributes={"price": 1})))  # the same features: only its record changes
    second = state.snapshot()
    assert (set(first.changed_records), first.changed_ids) == ({4, N}, ("shoe",))
    assert (set(second.changed_records), second.changed_ids) == ({N}, ())


def test_items_without_usable_features_are_not_ranked_and_say_why(bundle, tmp_path):
    state = LivingState(bundle)
    state.apply(put(stored("none", features={}), stored("narrow", features={"text": [1.0]}), stored("good")))
    assert set(state.not_ranked) == {"none", "narrow"}
    assert state.not_ranked["narrow"] == "features.text has 1 numbers; expected 5, as in training"
    assert "no features of text or image" in state.not_ranked["none"]
    assert len(state.snapshot().bundle.item_ids) == N + 1
    state.apply(put(stored("none"), stored("good", features={})))
    assert set(state.not_ranked) == {"good", "narrow"}
    assert state.snapshot().closed.tolist() == [N]
    blind = LivingState(open_bundle(write_bundle(tmp_path, make_content(), created_at=MADE_AT, factory="Flat")))
    blind.apply(put(stored("shoe"), stored("item-1", title="Still")))
    assert blind.not_ranked == {"shoe": NO_PATH}
    assert blind.snapshot().bundle.item(1)["title"] == "Still"


def test_an_item_whose_picture_failed_is_tried_again_also_after_a_change_of_its_price(bundle):
    state = LivingState(bundle, encodes=("text", "image"))
    shoe = {"text": "red", "image": "red.jpg", "features": {}}
    state.apply(put(stored("shoe", **shoe)))
    made = {"text": make_features(1, seed=5)[0]["text"]}
    state.encoded([(state.wanted["shoe"], made)], {"shoe": "image: timed out"})
    state.apply(put(stored("shoe", **shoe, attributes={"price": 2})))
    assert state.wanted == {}
    state.encode_again(["shoe"])
    assert state.wanted["shoe"].attributes == {"price": 2}


def test_items_wait_for_an_encoder_and_keep_their_vector_meanwhile(bundle):
    state = LivingState(bundle, encodes=("text",))
    state.apply(put(stored("shoe", text="red", features={}), stored("hat", features={}, title="")))
    assert state.not_ranked["shoe"] == WAITING
    assert "hat" not in state.wanted  # it has no words
    asked = state.wanted["shoe"]
    state.encoded([(asked, {"text": make_features(1, seed=5)[0]["text"]})], {})
    assert (set(state.not_ranked), state.wanted) == ({"hat"}, {})
    before = state.snapshot()
    assert before.bundle.item_ids.row("shoe") == N
    state.apply(put(stored("shoe", text="red", features={}, attributes={"price": 2})))
    assert state.wanted == {}  # the same words: the same vector
    state.apply(put(stored("shoe", text="blue", features={})))
    assert (set(state.wanted), state.snapshot().closed.tolist()) == ({"shoe"}, [])
    state.encoded([(asked, {"text": make_features(1, seed=6)[0]["text"]})], {})
    assert set(state.wanted) == {"shoe"}  # the answer is of older words
    state.encoded([(state.wanted["shoe"], {})], {"shoe": "no memory"})
    assert state.not_ranked["shoe"] == "its text and picture could not be encoded: no memory"
    assert state.snapshot().closed.tolist() == [N]
    state.encode_again(["shoe", "hat"])
    state.encoded([(state.wanted["shoe"], {"text": make_features(1, seed=6)[0]["text"]})], {})
    assert (state.wanted, set(state.not_ranked), state.snapshot().closed.tolist()) == ({}, {"hat"}, [])


def test_pages_of_the_store_that_were_read_are_not_applied_again(bundle):
    state = LivingState(bundle)
    older, newer = put(stored("shoe", title="old")), put(stored("shoe", title="new"))
    state.read(newer)
    state.apply(older)
    assert state.snapshot().bundle.item(N)["title"] == "new"


def test_after_a_loss_of_the_store_only_what_comes_again_is_shown(bundle):
    state = LivingState(bundle)
    state.apply(put(stored("shoe"), stored("hat"), stored("item-3", title="changed")))
    state.snapshot()
    state.reset()
    state.apply(put(stored("hat")))
    living = state.snapshot()
    assert living.closed.tolist() == [N]
    assert living.bundle.item(3) == bundle.item(3)
    assert living.changed_records[3] == bundle.item(3)
    assert living.bundle.item_ids.row("hat") == N + 1


def test_a_bundle_of_another_format_takes_items_in(tmp_path):
    written = next((Path(__file__).parents[2] / "index" / "bundle_of_format_3").iterdir())
    state = LivingState(open_bundle(written))
    state.apply(put(stored("shoe")))
    living = state.snapshot().bundle
    n = living.manifest.n_items
    parts = living.parts_of(np.array([0, n]))
    np.testing.assert_allclose(sum(parts.values()), living.item_embeddings[np.array([0, n])], atol=1e-5)
