"""Vectors of any shape become a bundle, and what does not fit is told before anything is written."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import InputError, bundle_from_vectors, open_bundle
from index.foreign.folding import fitted
from index.foreign.interactions import Histories, histories
from index.invariants import fold_in_sums

ITEMS = ["a", "b", "c", "d"]
VECTORS = np.arange(8, dtype=np.float64).reshape(4, 2)
GIVEN: dict[str, Any] = {"item_ids": ITEMS, "item_vectors": VECTORS, "interactions": [("u", "a"), ("u", "b")]}


def test_ids_metadata_and_order_arrive(tmp_path: Path) -> None:
    path = bundle_from_vectors(
        tmp_path,
        item_ids=np.array([10, 20, 30, 40]),
        item_vectors=VECTORS.astype(np.float16),
        user_ids=["u", "v"],
        user_vectors=[[1, 0], [0, 1]],
        interactions={"user_id": ["u", "u", "new", "u"], "item_id": [20, 10, 40, 20], "timestamp": [3, 2, 1, 4]},
        items={10: {"title": "Ten", "category": "round", "price": 1.5, "image": "10.jpg", "old": None}},
        features={"text": np.eye(4, 300)},
        model="two-tower",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    bundle = open_bundle(path)
    assert path.name.startswith("20260101T000000Z-two-tower-")
    assert [bundle.item_ids[row] for row in range(4)] == ["10", "20", "30", "40"]
    assert [bundle.user_ids[row] for row in range(3)] == ["u", "v", "new"]
    assert bundle.seen(0).tolist() == [0, 1]  # oldest first, the repeated pair once
    assert bundle.popularity_count.tolist() == [1, 1, 0, 1]
    assert bundle.item(0) == {"title": "Ten", "category": "round", "attributes": {"price": 1.5}, "image": "10.jpg"}
    assert bundle.manifest.attribute_types == {"price": "number"}
    assert bundle.item(1)["title"] == ""
    np.testing.assert_allclose(np.asarray(bundle.user_embeddings[:2]), [[1, 0], [0, 1]])
    assert not np.asarray(bundle.user_own[2]).any()  # of whom no vector was given
    assert bundle.similar("10", 2, by="text")[0].score == pytest.approx(0, abs=1e-3)


def test_parts_of_ones_own_explain_a_score(tmp_path: Path) -> None:
    parts = {"text": VECTORS - 1, "id": np.ones_like(VECTORS)}
    bundle = open_bundle(bundle_from_vectors(tmp_path, **GIVEN, item_parts=parts))
    why = bundle.recommend("u")[0].explanation
    assert why is not None
    assert set(why.parts) == {"id", "text"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"item_vectors": VECTORS[:3]}, "item_vectors have 3 rows; expected 4, one for each of item_ids"),
        ({"item_vectors": VECTORS[0]}, r"item_vectors are float64 \(2,\); expected numbers of shape"),
        ({"item_vectors": np.full((4, 2), np.nan)}, "item_vectors have a value in row 0 that is not finite"),
        ({"item_vectors": VECTORS * 1e300}, "item_vectors have a value in row 0 that is not finite as float32"),
        ({"item_vectors": np.array([["x", "y"]] * 4)}, "item_vectors are <U1"),
        ({"item_ids": ["a", "b", "a", "d"]}, "item_ids has 'a' in rows 0 and 2; expected each id once"),
        ({"item_ids": ["a", "b", "", "d"]}, "item_ids has an empty id"),
        ({"item_ids": [1.5, 2, 3, 4]}, "item_ids has 1.5 of type float; expected text or whole numbers"),
        ({"user_vectors": VECTORS}, "user_vectors come without user_ids"),
        ({"user_vectors": np.ones((1, 3)), "user_ids": ["u"]}, "user_vectors are 3 wide; expected 2"),
        ({"interactions": [("u", "x"), ("u", "y")]}, "name 2 items that have no vector: 'x', 'y'; .*among the 4 of"),
        ({"interactions": [("u", "a", 1, 2)]}, r"interactions have \('u', 'a', 1, 2\); expected \(user, item\)"),
        ({"interactions": [("u", "a"), ("u", "b", 1)]}, "rows of 2 and of 3 values"),
        ({"interactions": [("u", "a", "yesterday")]}, "the timestamp 'yesterday'; expected unix seconds or ISO 8601"),
        ({"interactions": [("u", "a", 1_700_000_000_000)]}, "the timestamp 1700000000000; expected unix seconds"),
        ({"interactions": {"user": ["u"], "item_id": ["a"]}}, "the columns user, item_id; expected user_id, item_id"),
        ({"interactions": {"user_id": ["u"], "item_id": []}}, "expected columns of one length"),
        ({"interactions": None}, "there are no users; expected user_vectors, interactions or both"),
        ({"items": [{"title": "x"}]}, "items have the fields title; expected item_id among them"),
        ({"items": [{"item_id": "x"}]}, "items have 1 rows, none of an item with a vector; expected ids such as a, b"),
        ({"items": [{"item_id": "a"}, {"item_id": "a"}]}, "items have 'a' twice"),
        ({"features": {"sound": VECTORS}}, "features have sound; expected names among text, image, multimodal"),
        ({"features": {"text": VECTORS[:2]}}, r"features\['text'\] have 2 rows; expected 4"),
        ({"item_parts": {"id": VECTORS + 1}}, "item_parts sum to item_embeddings only to"),
        ({"item_parts": {"mood": VECTORS}}, "item_parts have mood; expected names among id, text"),
        ({"model": "No Name"}, "model"),
        ({"factory": "nonsense"}, "nonsense"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        bundle_from_vectors(tmp_path / "registry", **(GIVEN | changed))
    assert not (tmp_path / "registry").exists() or not list((tmp_path / "registry").iterdir())


def test_interactions_with_unknown_items_can_be_left_out(tmp_path: Path) -> None:
    told: list[str] = []
    pairs = [("u", "a"), ("u", "x"), ("v", "x")]
    bundle_from_vectors(tmp_path, **(GIVEN | {"interactions": pairs}), unknown_items="drop", tell=told.append)
    assert told[0] == "2 users, 4 items, 1 interactions; 2 with unknown items are left out"


def test_a_bundle_that_the_gate_refuses_is_written_and_not_published(tmp_path: Path) -> None:
    published = bundle_from_vectors(tmp_path, **GIVEN, publish=True)
    fewer = {"item_ids": ITEMS[:2], "item_vectors": VECTORS[:2]}
    with pytest.raises(InputError, match=r"the gate refuses .* items"):
        bundle_from_vectors(tmp_path, **(GIVEN | fewer), publish=True)
    assert open_bundle(tmp_path).path == published


@given(
    pairs=st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from(ITEMS), st.integers(0, 5)), max_size=30),
)
def test_a_history_has_each_item_once_at_its_newest_place(pairs: list[tuple[str, str, int]]) -> None:
    users: dict[str, int] = {"u": 0, "v": 1, "w": 2}
    found = histories(pairs, users, {item: row for row, item in enumerate(ITEMS)})
    for user, row in users.items():
        newest: dict[str, None] = {}
        for _, item, _ in sorted((pair for pair in pairs if pair[0] == user), key=lambda pair: pair[2]):
            newest.pop(item, None)
            newest[item] = None
        part = slice(*found.offsets[row : row + 2])
        assert [ITEMS[item] for item in found.items[part]] == list(newest)


def test_vectors_that_are_sums_of_items_are_explained_whole() -> None:
    rng = np.random.default_rng(0)
    items, turned = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(4, 4))
    rows = np.concatenate([rng.choice(30, 5, replace=False) for _ in range(50)]).astype(np.int32)
    seen = Histories(np.arange(0, 251, 5), rows, np.full(250, -1))
    users = (fold_in_sums(items, seen.offsets, seen.items) @ turned).astype(np.float32)
    found = fitted(items, users, seen)
    assert found.explains == pytest.approx(1, abs=1e-3)
    assert found.explains_new == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(found.fold_in, items @ turned, atol=0.05)
    noise = fitted(items, rng.normal(size=users.shape).astype(np.float32), seen)
    assert noise.explains is not None
    assert noise.explains < 0.3


def test_users_without_interactions_have_their_vectors_and_fold_in_has_their_scale(tmp_path: Path) -> None:
    users = {"user_ids": ["u"], "user_vectors": np.array([[0, 10.0]])}
    bundle = open_bundle(bundle_from_vectors(tmp_path, **(GIVEN | {"interactions": None}), **users))
    assert bundle.recommend("u")[0].item_id == "d"
    norms = np.linalg.norm(bundle.fold_in[np.arange(4)], axis=1)
    assert norms.mean() == pytest.approx(10)
