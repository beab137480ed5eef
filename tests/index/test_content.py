from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bundles import MADE_AT, make_anchor, make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from index import content as content_module
from index.bundle import write_bundle
from index.content import AnchorContent, checked_arrays, transpose_csr
from index.errors import InputError
from index.recency import Recency


def changed(name: str, change: Any) -> Any:
    """A content with one array changed in a copy of it."""
    content = make_content()
    array = getattr(content, name).copy()
    return replace(content, **{name: change(array)})


def with_value(row: int, value: float) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array[row] = value
        return array

    return change


BAD_ARRAYS = [
    ("user_embeddings", lambda a: a.astype(np.float64), r"user_embeddings.npy is float64 \(30, 8\); expected float32"),
    ("user_embeddings", lambda a: a[:-1], r"is float32 \(29, 8\); expected float32 \(30, 8\)"),
    ("user_own", lambda a: a[:, :4], r"user_own.npy is float32 \(30, 4\)"),
    ("fold_in", with_value(7, np.nan), "fold_in.npy has a value in row 7 that is not finite"),
    ("fold_in", with_value(7, np.inf), "row 7 that is not finite"),
    ("fold_in", lambda a: a.tolist(), "fold_in.npy is list; expected float32"),
    ("user_own", lambda a: None, "fold_in and user_own give user_embeddings to"),
    ("fold_in", lambda a: a * 2, "fold_in and user_own give user_embeddings to"),
    ("item_embeddings", lambda a: a + 1, "item_parts sum to item_embeddings only to"),
    ("seen_items", lambda a: a.astype(np.int64), "seen/user_items.npy is int64"),
    ("seen_items", with_value(0, 40), r"seen_items has rows 0..40; expected 0..39"),
    ("seen_items", with_value(0, -1), r"seen_items has rows -1..39; expected 0..39"),
    ("seen_offsets", with_value(0, 1), "seen_offsets run from 1"),
    ("seen_offsets", with_value(5, 10_000), "expected an ascending run"),
    ("popularity_count", with_value(2, -3), "popularity/count.npy has -3"),
    ("popularity_trend", with_value(2, np.nan), "popularity/trend.npy has a value in row 2"),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD_ARRAYS)
def test_a_wrong_array_is_refused_and_nothing_is_written(tmp_path, name, change, message):
    with pytest.raises(InputError, match=message):
        write_bundle(tmp_path / "registry", changed(name, change), created_at=MADE_AT)
    assert not (tmp_path / "registry").exists()


BAD_FIELDS = [
    ({"model": "Anchor Rec"}, "model: expected text of the pattern .*, found 'Anchor Rec'"),
    ({"model": "../up"}, "model: expected text of the pattern .*, found '../up'"),
    ({"metrics": {"valid": {"recall@20": float("nan")}}}, "config or metrics"),
    ({"config": {"path": object()}}, "expected what JSON can hold"),
    ({"user_ids": ["same"] * 30}, "user_id 'same' is in rows 0 and 1"),
    ({"item_ids": [""] * 40}, "item_id of row 0 is ''"),
    ({"user_ids": []}, "n_users is 0; expected at least 1"),
    ({"items": []}, "items has 0 records; expected one for each of 40"),
    ({"items": [{"title": "t"}] * 40}, "items: 'item-0': category is missing"),
    ({"item_parts": {}}, "item_parts is empty"),
    ({"item_parts": {"smell": np.zeros((40, 8), np.float32)}}, "item_parts has smell; expected names among id, text"),
    ({"neighbours": {"id": np.zeros((40, 8), np.float16)}}, "neighbours has id; expected names among text"),
    ({"neighbours": {"text": np.ones((40, 8), np.float16)}}, "norm 2.828 in row 0; expected unit rows"),
    ({"neighbours": {"text": np.zeros((40, 300), np.float16)}}, "is 300 wide; expected 1..256"),
]


def anchor_with(modality: str, field: str, change: Any) -> dict[str, AnchorContent]:
    anchor = make_anchor()
    arrays = {**getattr(anchor, field)}
    arrays[modality] = change(arrays[modality])
    return {"anchor": replace(anchor, **{field: arrays})}


BAD_ANCHORS = [
    (
        {"anchor": make_anchor(mean=np.zeros(7, np.float32))},
        r"mean.npy is float32 \(7,\); expected float32 \(8\)",
    ),
    ({"anchor": make_anchor(mean=np.full(8, np.nan, np.float32))}, "anchor/mean.npy has a value in row 0 that is not"),
    (
        anchor_with("text", "weights", lambda a: a[1:]),
        r"text_weights.npy is float32 \(4, 8\); expected",
    ),
    (anchor_with("image", "weights", lambda a: a.astype(float)), "image_weights.npy is float64"),
    (anchor_with("image", "centers", lambda a: a[:, None]), r"image_center.npy is float32 \(7, 1\); expected float32"),
    (anchor_with("text", "centers", lambda a: a * np.inf), "text_center.npy has a value in row"),
    ({"anchor": make_anchor(weights={})}, "anchor has weights of  and centers of text, image; expected both"),
    ({"anchor": make_anchor(weights={}, centers={}, fold_in_weights={}, fold_in_mean=None)}, "anchor: widths: "),
    ({"anchor": make_anchor(weights={"id": 0}, centers={"id": 0})}, "anchor.weights has id; expected names among text"),
    ({"anchor": make_anchor(kappa=-1.0)}, "anchor: kappa: "),
    (
        {"anchor": make_anchor(fold_in_weights={})},
        "anchor has fold_in_weights of nothing; expected those of text, image",
    ),
    ({"anchor": make_anchor(shortest={"text": -1.0})}, "anchor: shortest.text: "),
    ({"projections": {"id": 0}}, "projections has id; expected names among text"),
    (
        {"projections": {"text": np.ones((9, 4), np.float32)}},
        "neighbours_projection/text.npy gives rows of 4; expected 6",
    ),
    ({"anchor": make_anchor(rho=float("nan"))}, "anchor: rho: "),
]


@pytest.mark.parametrize(("fields", "message"), [*BAD_FIELDS, *BAD_ANCHORS])
def test_a_wrong_field_is_refused_and_nothing_is_written(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        write_bundle(tmp_path / "registry", make_content(**fields), created_at=MADE_AT)
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(
    "wrong", [{"title": 7}, {"image": 3}, {"attributes": {"x": float("nan")}}, {"attributes": {1, 2}}, {"price": 3}]
)
def test_an_item_record_that_is_not_as_agreed_is_refused(wrong):
    items = [dict(item) for item in make_content().items]
    items[3] |= wrong
    with pytest.raises(InputError, match="items"):
        checked_arrays(make_content(items=items))


def test_an_item_seen_twice_by_one_user_is_refused_with_both_rows():
    content = make_content()
    start, end = content.seen_offsets[2:4]
    seen = content.seen_items.copy()
    assert end - start >= 2  # user row 2 has a history to repeat in
    seen[start + 1] = seen[start]
    with pytest.raises(InputError, match=f"names item row {seen[start]} twice for user row 2"):
        checked_arrays(replace(content, seen_items=seen))


def test_the_arrays_of_an_anchor_need_the_anchors_part():
    content = make_content()
    parts = {name: part for name, part in content.item_parts.items() if name != "anchor"}
    with pytest.raises(InputError, match="item_parts has no anchor"):
        checked_arrays(replace(content, item_parts=parts, anchor=make_anchor()))


def test_an_anchor_that_moves_no_trained_item_needs_no_part():
    content = make_content()
    parts = {name: part for name, part in content.item_parts.items() if name != "anchor"}
    embeddings = sum(parts.values()).astype(np.float32)
    arrays = checked_arrays(
        replace(content, item_parts=parts, item_embeddings=embeddings, anchor=make_anchor(kappa=0.0))
    )
    assert "item_parts/anchor.npy" not in arrays


def test_users_that_do_not_follow_the_recency_are_refused():
    with pytest.raises(InputError, match="fold_in and user_own give user_embeddings to"):
        checked_arrays(replace(make_content(), recency=Recency(tau=10)))


def test_items_of_which_a_modality_knows_nothing_have_zero_rows():
    text = make_content().neighbours["text"].copy()
    text[5] = 0
    assert checked_arrays(make_content(neighbours={"text": text}))["neighbours/text.npy"][5].tolist() == [0] * 6


def test_the_transpose_worked_out_by_hand():
    offsets, users = transpose_csr(np.array([0, 2, 2, 4]), np.array([2, 0, 0, 1], np.int32), 4)
    assert offsets.tolist() == [0, 2, 3, 4, 4]
    assert users.tolist() == [0, 2, 2, 0]


@given(st.lists(st.sets(st.integers(0, 8)), min_size=1, max_size=12))
@settings(max_examples=50)
def test_transposing_twice_gives_the_same_pairs(histories):
    columns = np.array([item for history in histories for item in sorted(history)], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    back = transpose_csr(*transpose_csr(offsets, columns, 9), len(histories))
    assert back[0].tolist() == offsets.tolist()
    assert back[1].tolist() == columns.tolist()


@pytest.mark.parametrize("n", [1, 7, 40])
def test_content_checked_in_several_steps_gives_the_arrays_of_one(monkeypatch, n):
    whole = checked_arrays(make_content())
    monkeypatch.setattr(content_module, "_ROWS_AT_ONCE", n)
    for name, array in checked_arrays(make_content()).items():
        assert np.array_equal(array, whole[name]), name
