import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.users.vector_keys import decode_vector, user_key

OWN = np.arange(4, dtype=np.float32)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_no_two_users_share_a_key_and_keys_stay_short(one: str, other: str) -> None:
    keys = {user_key("reco", "b1", user_id) for user_id in (one, other)}
    assert len(keys) == len({one, other})
    assert all(len(key) <= 160 for key in keys)


def test_an_id_that_looks_like_anothers_hash_has_its_own_key() -> None:
    long = user_key("reco", "b1", "x" * 10_000)
    hashed = long.rpartition(b":#")[2].decode()
    assert user_key("reco", "b1", hashed) != long
    assert user_key("reco", "b1", "#" + hashed) != long
    assert user_key("reco", "b2", "x" * 10_000) != long


def test_only_finite_vectors_of_the_right_length_are_decoded() -> None:
    assert decode_vector(OWN.tobytes(), 4) is not None
    assert decode_vector(OWN.tobytes(), 5) is None
    assert decode_vector(np.float32([np.inf] * 4).tobytes(), 4) is None
