import numpy as np
from bundles import make_content
from hypothesis import given, settings
from hypothesis import strategies as st

from index.bundle import BundleContent
from index.manifest import PARTS
from index.recency import Recency
from index.recommending.attribution import (
    attribute_score,
    count_in_common,
    counterfactual_ranks,
    largest,
    vectors_without,
)
from index.recommending.profile import NO_ROWS, Profile, scale_of
from index.recommending.steps import Steps

TO_THE_SCORE = 1e-4
recencies = st.none() | st.builds(Recency, tau=st.floats(0.3, 50), floor=st.floats(0, 0.5))


def result_of(steps: Steps[np.ndarray]) -> np.ndarray:
    """Every step done at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def seen_of(content: BundleContent, user: int) -> np.ndarray:
    return content.seen_items[content.seen_offsets[user] : content.seen_offsets[user + 1]]


def profile_of(content: BundleContent, user: int) -> Profile:
    assert content.user_own is not None
    vector, own, seen = content.user_embeddings[user], content.user_own[user], seen_of(content, user)
    return Profile("user", vector, own, seen, np.ones(len(seen), np.float32), recency=content.recency)


def folded(rows: np.ndarray, strengths: np.ndarray, recency: Recency | None) -> np.ndarray:
    """The formula of docs/bundle.md in float64, for fold_in rows (s, d), oldest first."""
    ranks = np.arange(len(rows))[::-1]
    decay = 1.0 if recency is None else recency.floor + (1 - recency.floor) * np.exp(-ranks / recency.tau)
    weights = strengths * decay
    size = np.abs(weights).sum()
    return weights @ rows.astype(np.float64) / np.sqrt(size) if size else np.zeros(rows.shape[1])


def brute_rank(content: BundleContent, user: int, item: int, without: int, *, exclude_seen: bool) -> int:
    """Make the user anew without one past item and sort the whole catalogue."""
    assert content.user_own is not None
    rest = [row for row in seen_of(content, user).tolist() if row != without]
    vector = folded(content.fold_in[rest], np.ones(len(rest)), content.recency) + content.user_own[user]
    scores = content.item_embeddings.astype(np.float64) @ vector
    shown = [row for row in range(len(scores)) if not (exclude_seen and row in rest)]
    return 1 + sum(scores[row] > scores[item] for row in shown)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 24),
    names=st.sets(st.sampled_from(PARTS), min_size=1),
    most=st.integers(0, 5),
    recency=recencies,
)
def test_both_sums_give_the_score_whatever_the_bundle(
    seed: int, size: int, names: set[str], most: int, recency: Recency | None
) -> None:
    content = make_content(n_users=5, n_items=20, embedding_size=size, seed=seed, recency=recency)
    parts = {name: content.item_parts[name] for name in sorted(names)}
    items = np.sum(list(parts.values()), axis=0)
    for user in range(5):  # the last has no past
        profile = profile_of(content, user)
        past = content.fold_in[profile.past]
        found = attribute_score(profile, past, items=items, parts=parts, most=most)
        scores = items @ profile.vector
        assert np.allclose(sum(found.parts.values()), scores, rtol=0, atol=TO_THE_SCORE)
        by_past = found.own + found.contributions.sum(axis=0) + found.others
        assert np.allclose(by_past, scores, rtol=1e-5, atol=TO_THE_SCORE)
        assert len(found.past) == min(most, len(past))


def test_a_score_of_small_numbers_splits_as_by_hand() -> None:
    own, past = np.float32([1, 0]), np.float32([[2, 0], [0, 4], [0, 0], [2, 4]])
    vector = own + scale_of(4) * past.sum(axis=0)  # [1, 0] + [4, 8] / 2 = [3, 4]
    found = attribute_score(
        Profile("user", vector, own, np.arange(4), np.ones(4, np.float32)),
        past,
        items=np.float32([[1, 1]]),
        parts={"text": np.float32([[1, 0]]), "image": np.float32([[0, 1]])},
        most=2,
    )
    assert {name: share.tolist() for name, share in found.parts.items()} == {"text": [3.0], "image": [4.0]}
    assert (found.own.tolist(), found.others.tolist()) == ([1.0], [1.0])
    assert (found.past[:, 0].tolist(), found.contributions[:, 0].tolist()) == ([3, 1], [3.0, 2.0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), exclude_seen=st.booleans(), recency=recencies)
def test_counterfactual_ranks_are_those_of_a_catalogue_sorted_anew(
    seed: int, exclude_seen: bool, recency: Recency | None
) -> None:
    content = make_content(n_users=3, n_items=25, embedding_size=6, seed=seed, recency=recency)
    for user in range(2):
        seen = seen_of(content, user)
        rows = np.setdiff1d(np.arange(25), seen)[:6] if exclude_seen else np.arange(6)
        past = content.fold_in[seen]
        positions = largest(past @ content.item_embeddings[rows].T, 3)
        steps = counterfactual_ranks(
            profile_of(content, user),
            past,
            embeddings=content.item_embeddings,
            rows=rows,
            past=positions,
            hidden=seen if exclude_seen else NO_ROWS,
            freed=np.ones(len(seen), np.bool_),
        )
        found = result_of(steps)
        for j, i in np.ndindex(positions.shape):
            without = int(seen[positions[j, i]])
            assert found[j, i] == brute_rank(content, user, int(rows[i]), without, exclude_seen=exclude_seen)


@settings(max_examples=100, deadline=None)
@given(
    strengths=st.lists(st.sampled_from([1.0, 0.5, 3.0, -0.5]), min_size=1, max_size=30),
    recency=recencies,
    removed=st.sets(st.integers(0, 29), min_size=1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_vector_without_a_past_item_is_that_of_the_rest_folded_in_anew(
    strengths: list[float], recency: Recency | None, removed: set[int], seed: int
) -> None:
    n = len(strengths)
    rows = np.random.default_rng(seed).standard_normal((n, 4), dtype=np.float32)
    weights = np.float32(strengths)
    places = np.array(sorted({place % n for place in removed}))
    profile = Profile("fold_in", rows[0], np.zeros(4, np.float32), np.arange(n), weights, recency=recency)
    found = vectors_without(profile, rows, places)
    for place, vector in zip(places, found, strict=True):
        rest = np.delete(np.arange(n), place)
        np.testing.assert_allclose(vector, folded(rows[rest], weights[rest], recency), rtol=1e-4, atol=2e-5)


def test_without_the_newest_the_one_before_it_counts_fully_and_without_the_oldest_nothing_changes_its_weight() -> None:
    halving, rows = Recency(tau=1 / np.log(2)), np.eye(3, dtype=np.float32)
    profile = Profile("user", rows[0], np.zeros(3, np.float32), np.arange(3), np.ones(3, np.float32), recency=halving)
    found = vectors_without(profile, rows, np.array([0, 2]))
    np.testing.assert_allclose(found, np.array([[0, 0.5, 1], [0.5, 1, 0]]) / np.sqrt(1.5), rtol=1e-6)


def test_a_catalogue_beyond_one_chunk_is_ranked_like_one_within(monkeypatch: object) -> None:
    content = make_content(n_users=3, n_items=40, embedding_size=6, seed=3)
    seen, rows = seen_of(content, 0), np.arange(5)
    profile, past = profile_of(content, 0), content.fold_in[seen]
    positions = largest(past @ content.item_embeddings[rows].T, 3)

    def ranks() -> list[list[int]]:
        steps = counterfactual_ranks(
            profile,
            past,
            embeddings=content.item_embeddings,
            rows=rows,
            past=positions,
            hidden=seen,
            freed=np.ones(len(seen), np.bool_),
        )
        return result_of(steps).tolist()  # type: ignore[no-any-return]

    whole = ranks()
    for at_once in (1, 20, 100):
        monkeypatch.setattr("index.recommending.attribution.SCORES_AT_ONCE", at_once)  # type: ignore[attr-defined]
        assert ranks() == whole


def test_a_user_left_without_any_vector_ranks_nothing() -> None:
    item = np.float32([[1.0, 0.0]])
    profile = Profile("user", item[0], np.zeros(2, np.float32), np.array([0]), np.ones(1, np.float32))
    steps = counterfactual_ranks(
        profile,
        item,
        embeddings=item,
        rows=np.array([0]),
        past=np.array([[0]]),
        hidden=NO_ROWS,
        freed=np.ones(1, np.bool_),
    )
    assert result_of(steps).tolist() == [[0]]


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_users_in_common_are_counted_as_sets_would(some: set[int], others: set[int]) -> None:
    assert count_in_common(np.array(sorted(some), np.int32), np.array(sorted(others), np.int32)) == len(some & others)
