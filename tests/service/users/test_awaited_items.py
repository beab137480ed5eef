"""Users are remembered by the items that they wait for, each until that item comes, and only so many."""

import pytest

from service.users import awaited_items
from service.users.awaited_items import AwaitedItems


@pytest.fixture
def awaited(bundle):
    return AwaitedItems(bundle)


def test_the_users_of_an_item_are_told_once(awaited):
    awaited.remember("ann", {"shoe", "hat"})
    awaited.remember("bob", {"shoe"})
    assert awaited.users_of(["shoe", "coat"]) == {"ann", "bob"}
    assert awaited.users_of(["shoe"]) == set()
    assert awaited.users_of(["hat"]) == {"ann"}


def test_beyond_the_limit_any_user_may_wait(awaited, monkeypatch):
    monkeypatch.setattr(awaited_items, "MOST", 3)
    for user in ("ann", "bob", "cem", "dan"):
        awaited.remember(user, {"shoe"})
    assert awaited.users_of(["coat"]) is None
    assert awaited.users_of(["shoe"]) == set()
    awaited.remember("eve", {"shoe"})
    assert awaited.users_of(["shoe"]) == {"eve"}
