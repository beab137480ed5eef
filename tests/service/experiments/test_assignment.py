"""Users are assigned to arms by hash: by weight, for good, and with as few moves as weights allow."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.experiments import GivenArm
from service.experiments.assignment import Assignment

KNOWN = ["user-6", "user-8", "user-25", "user-29", "user-40", "user-45", "user-53"]
USERS = [f"user-{i}" for i in range(4_000)]
weights = st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any)


def arms(*weights: float) -> list[GivenArm]:
    return [GivenArm(name=f"arm-{i}", weight=100 * weight / sum(weights)) for i, weight in enumerate(weights)]


def assigned(salt: str, *weights: float) -> list[str]:
    assignment = Assignment(salt, arms(*weights))
    return [assignment.arm_of(user) for user in USERS]


@pytest.mark.parametrize("split", [(50, 50), (90, 10), (60, 30, 10), (0, 99, 1)])
def test_each_arm_gets_the_share_of_its_weight(split: tuple[float, ...]) -> None:
    counts = Counter(assigned("salt", *split))
    for i, weight in enumerate(split):
        expected = len(USERS) * weight / 100
        assert abs(counts[f"arm-{i}"] - expected) <= 4 * (expected * (1 - weight / 100)) ** 0.5


@settings(max_examples=50)
@given(st.text(max_size=20), weights, st.text(min_size=1, max_size=40))
def test_a_user_has_the_same_arm_in_every_process_and_never_one_without_weight(
    salt: str, split: list[int], user: str
) -> None:
    arm = Assignment(salt, arms(*split)).arm_of(user)
    assert arm == Assignment(salt, arms(*split)).arm_of(user)
    assert split[int(arm.removeprefix("arm-"))] > 0


def test_a_known_user_has_a_known_arm_so_that_no_release_moves_users() -> None:
    assignment = Assignment("salt", arms(90, 10))
    assert [user for user in USERS[:60] if assignment.arm_of(user) == "arm-1"] == KNOWN


def test_an_arm_with_more_weight_loses_no_user_and_one_with_less_gets_none() -> None:
    before, after = assigned("salt", 80, 10, 10), assigned("salt", 70, 10, 20)
    moved = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert moved["arm-0", "arm-2"] > 300
    assert {old for old, _ in moved} == {"arm-0", "arm-1"}
    assert {new for _, new in moved} == {"arm-1", "arm-2"}


def test_another_salt_assigns_users_independently() -> None:
    both = Counter(zip(assigned("one", 50, 50), assigned("two", 50, 50), strict=True))
    assert all(abs(n - 1_000) < 150 for n in both.values())
    assert len(both) == 4
