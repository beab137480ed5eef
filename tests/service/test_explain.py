import numpy as np
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from index.bundle import BundleContent
from index.manifest import PARTS
from service.explain import count_in_common, degree_scale, explain, largest, ranks_without

TO_THE_SCORE = 1e-4
NONE = np.empty(0, np.int64)


def seen_of(content: BundleContent, user: int) -> np.ndarray:
    return content.seen_items[content.seen_offsets[user] : content.seen_offsets[user + 1]]


def brute_rank(content: BundleContent, user: int, item: int, without: int, *, exclude_seen: bool) -> int:
    """Make the user anew without one past item and sort the whole catalogue."""
    rest = [row for row in seen_of(content, user).tolist() if row != without]
    vector = content.user_own[user].astype(np.float64)
    if rest:
        vector = vector + len(rest) ** -0.5 * content.fold_in[rest].astype(np.float64).sum(axis=0)
    scores = content.item_embeddings.astype(np.float64) @ vector
    shown = [row for row in range(len(scores)) if not (exclude_seen and row in rest)]
    return 1 + sum(scores[row] > scores[item] for row in shown)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 24),
    names=st.sets(st.sampled_from(PARTS), min_size=1),
    most=st.integers(0, 5),
)
def test_both_sums_give_the_score_whatever_the_bundle(seed: int, size: int, names: set[str], most: int) -> None:
    content = make_content(n_users=5, n_items=20, embedding_size=size, seed=seed)
    parts = {name: content.item_parts[name] for name in sorted(names)}
    items = np.sum(list(parts.values()), axis=0)
    for user in range(5):  # the last has no past
        vector, past = content.user_embeddings[user], content.fold_in[seen_of(content, user)]
        found = explain(vector, content.user_own[user], past, items=items, parts=parts, most=most)
        scores = items @ vector
        assert np.allclose(sum(found.parts.values()), scores, rtol=0, atol=TO_THE_SCORE)
        by_past = found.own + found.contributions.sum(axis=0) + found.others
        assert np.allclose(by_past, scores, rtol=1e-5, atol=TO_THE_SCORE)
        assert len(found.past) == min(most, len(past))


def test_a_score_of_small_numbers_splits_as_by_hand() -> None:
    own, past = np.float32([1, 0]), np.float32([[2, 0], [0, 4], [0, 0], [2, 4]])
    vector = own + degree_scale(4) * past.sum(axis=0)  # [1, 0] + [4, 8] / 2 = [3, 4]
    found = explain(
        vector,
        own,
        past,
        items=np.float32([[1, 1]]),
        parts={"text": np.float32([[1, 0]]), "image": np.float32([[0, 1]])},
        most=2,
    )
    assert {name: share.tolist() for name, share in found.parts.items()} == {"text": [3.0], "image": [4.0]}
    assert (found.own.tolist(), found.others.tolist()) == ([1.0], [1.0])
    assert (found.past[:, 0].tolist(), found.contributions[:, 0].tolist()) == ([3, 1], [3.0, 2.0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), exclude_seen=st.booleans())
def test_counterfactual_ranks_are_those_of_a_catalogue_sorted_anew(seed: int, exclude_seen: bool) -> None:
    content = make_content(n_users=3, n_items=25, embedding_size=6, seed=seed)
    for user in range(2):
        seen = seen_of(content, user)
        rows = np.setdiff1d(np.arange(25), seen)[:6] if exclude_seen else np.arange(6)
        own, past = content.user_own[user], content.fold_in[seen]
        positions = largest(past @ content.item_embeddings[rows].T, 3)
        hidden = seen if exclude_seen else NONE
        found = ranks_without(own, past, embeddings=content.item_embeddings, rows=rows, past=positions, hidden=hidden)
        for j, i in np.ndindex(positions.shape):
            without = int(seen[positions[j, i]])
            assert found[j, i] == brute_rank(content, user, int(rows[i]), without, exclude_seen=exclude_seen)


def test_a_catalogue_beyond_one_chunk_is_ranked_like_one_within(monkeypatch: object) -> None:
    content = make_content(n_users=3, n_items=40, embedding_size=6, seed=3)
    seen, rows = seen_of(content, 0), np.arange(5)
    own, past = content.user_own[0], content.fold_in[seen]
    positions = largest(past @ content.item_embeddings[rows].T, 3)

    def ranks() -> list[list[int]]:
        embeddings = content.item_embeddings
        ranks: list[list[int]] = ranks_without(
            own, past, embeddings=embeddings, rows=rows, past=positions, hidden=seen
        ).tolist()
        return ranks

    whole = ranks()
    monkeypatch.setattr("service.explain.ITEM_CHUNK", 7)  # type: ignore[attr-defined]
    assert ranks() == whole


def test_a_user_left_without_any_vector_ranks_nothing() -> None:
    item = np.float32([[1.0, 0.0]])
    ranks = ranks_without(
        np.zeros(2, np.float32), item, embeddings=item, rows=np.array([0]), past=np.array([[0]]), hidden=NONE
    )
    assert ranks.tolist() == [[0]]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_users_in_common_are_counted_as_sets_would(some: set[int], others: set[int]) -> None:
    assert count_in_common(np.array(sorted(some), np.int32), np.array(sorted(others), np.int32)) == len(some & others)
