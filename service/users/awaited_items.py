"""Remembers whose events name items that training never saw: their profiles change when such an item gets a vector."""

from collections.abc import Iterable, Sequence

from index.bundle import Bundle
from service.events.event import Event

MOST = 200_000  # pairs of item and user that are remembered


class AwaitedItems:
    """The users by item, of the profiles that one bundle's lookups have built. `newest` is its newest state."""

    def __init__(self, newest: Bundle) -> None:
        self.newest = newest
        self._users: dict[str, set[str]] = {}
        self._n_pairs = 0
        self._overflown = False

    def remember(self, user_id: str, item_ids: Iterable[str]) -> None:
        """The user's profile depends on these items."""
        for item_id in item_ids:
            users = self._users.setdefault(item_id, set())
            self._n_pairs += user_id not in users
            users.add(user_id)
        if self._n_pairs > MOST:
            self.clear()
            self._overflown = True

    def clear(self) -> None:
        """Remember no user: no profile is cached."""
        self._users.clear()
        self._n_pairs, self._overflown = 0, False

    def users_of(self, item_ids: Iterable[str]) -> set[str] | None:
        """Whose profiles depend on the items, which are then no longer remembered; None: perhaps any user's."""
        if self._overflown:
            self._overflown = False
            return None
        found: set[str] = set()
        for item_id in item_ids:
            users = self._users.pop(item_id, set())
            self._n_pairs -= len(users)
            found |= users
        return found


def untrained_items(bundle: Bundle, events: Sequence[Event]) -> set[str]:
    """The items of the events that training never saw, whether they have a row by now or not."""
    n = bundle.manifest.n_items
    rows = {item_id: bundle.item_ids.row(item_id) for item_id in {event.item_id for event in events}}
    return {item_id for item_id, row in rows.items() if row is None or row >= n}
