from pathlib import Path

import numpy as np
from bundles import make_content
from hypothesis import given
from hypothesis import strategies as st
from servers import publish

from index.bundle import Bundle
from index.recency import Recency
from index.recommending.profile import fold_in, trained_profile


def test_folding_in_what_training_saw_gives_back_every_trained_user(bundle: Bundle) -> None:
    for row in range(len(bundle.user_embeddings)):
        past = bundle.seen(row)
        found = fold_in(bundle, past, np.ones(len(past)), source="user", own=bundle.user_own[row])
        np.testing.assert_allclose(found.vector, bundle.user_embeddings[row], rtol=1e-5, atol=1e-6)


def test_recency_gives_back_every_trained_user_too_and_weighs_the_past_by_rank(tmp_path: Path) -> None:
    recency = Recency(tau=3, floor=0.1)
    bundle = publish(tmp_path, make_content(recency=recency, has_own=False))
    for row in range(len(bundle.user_embeddings)):
        trained = trained_profile(bundle, row)
        found = fold_in(bundle, trained.past, trained.strengths, source="user", own=trained.own)
        np.testing.assert_allclose(found.vector, bundle.user_embeddings[row], rtol=1e-5, atol=1e-6)
        assert trained.weights.tolist() == found.weights.tolist() == recency.weights(len(trained.past)).tolist()
        assert trained.n_bytes == found.n_bytes - found.vector.nbytes


def test_a_trained_profile_is_the_row_of_the_bundle_or_the_vector_of_the_cache(bundle: Bundle) -> None:
    assert trained_profile(bundle, 1).vector.tolist() == bundle.user_embeddings[1].tolist()
    cached = np.arange(bundle.user_embeddings.shape[1], dtype=np.float32)
    assert trained_profile(bundle, 1, cached).vector is cached


def test_a_profile_takes_memory_for_what_is_its_own_and_not_for_what_it_looks_into(bundle: Bundle) -> None:
    row, past = 1, bundle.seen(1)
    copied = fold_in(bundle, past.astype(np.int64), np.ones(len(past)), source="fold_in", own=bundle.user_own[row])
    in_a_reply = np.frombuffer(bundle.user_embeddings[row].tobytes(), "<f4")
    looks = trained_profile(bundle, row).n_bytes
    assert trained_profile(bundle, row, in_a_reply).n_bytes == looks + in_a_reply.nbytes
    assert copied.n_bytes == looks + copied.vector.nbytes + 8 * len(past)
    assert looks > 4 * len(past)


@given(scale=st.floats(0.01, 100))
def test_the_weights_of_a_past_count_by_the_root_of_their_size(bundle: Bundle, scale: float) -> None:
    past = np.arange(4)
    one = fold_in(bundle, past, np.ones(4), source="session")
    other = fold_in(bundle, past, np.full(4, scale), source="session")
    np.testing.assert_allclose(other.vector, one.vector * scale**0.5, rtol=1e-4)


def test_a_dislike_takes_away_what_a_like_adds(bundle: Bundle) -> None:
    liked = fold_in(bundle, np.array([2]), np.array([1.0]), source="session")
    disliked = fold_in(bundle, np.array([2]), np.array([-1.0]), source="session")
    np.testing.assert_allclose(disliked.vector, -liked.vector)


def test_nobody_knows_a_profile_without_a_past(bundle: Bundle) -> None:
    nobody = fold_in(bundle, np.empty(0, np.int64), np.empty(0), source="fold_in")
    assert (nobody.known, nobody.scale) == (False, 0.0)
