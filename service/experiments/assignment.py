"""Assigns users to arms by weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer 2005).

Each arm draws a number u in (0, 1) from the salt, its name and the user id, and the user gets the arm with the largest
-weight / ln(u). So an arm gets the share of its weight, and the same user always the same arm; an arm whose weight
grows loses no user, and one whose weight shrinks gets none.
"""

import hashlib
import math
from collections.abc import Sequence

from index.experiments import GivenArm

HASH_BYTES = 8
BITS = 52  # of a hash: with a half added it is exact as a float, and below 2**BITS


class Assignment:
    """The arms of one experiment, by user. At least one arm has a weight above 0."""

    def __init__(self, salt: str, arms: Sequence[GivenArm]) -> None:
        self._arms = [
            (arm.name, -arm.weight, hashlib.blake2b(digest_size=HASH_BYTES, key=_key(salt, arm.name)))
            for arm in arms
            if arm.weight
        ]

    def arm_of(self, user_id: str) -> str:
        """The name of the user's arm."""
        encoded, best, name = user_id.encode(), 0.0, ""
        for arm, negative_weight, keyed in self._arms:
            hashed = keyed.copy()
            hashed.update(encoded)
            drawn = (int.from_bytes(hashed.digest()) >> 8 * HASH_BYTES - BITS) + 0.5
            score = negative_weight / math.log(drawn / 2**BITS)
            if score > best:
                best, name = score, arm
        return name


def _key(salt: str, arm: str) -> bytes:
    return hashlib.blake2b(f"{salt}\0{arm}".encode(), digest_size=32).digest()
