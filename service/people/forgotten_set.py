"""Who was forgotten: a durable set that every replica has, so that no bundle's vector of these people is used."""

import secrets
from collections.abc import Callable
from pathlib import Path

from index.forgotten import Forgetting, ForgottenPeople, person_hash
from service.hidden.hidden_items import HiddenItems, HiddenItemsUnavailableError
from service.hidden.redis_store import RedisHiddenItems
from service.telemetry.metrics import UserMetrics

TABLE = "forgotten"
FORGOTTEN_CHANGED = "forgotten"  # the kind of message that makes replicas and workers read the set
KEY_BYTES = 16


class PeopleUnavailableError(HiddenItemsUnavailableError):
    """The person is not forgotten yet. Where it was begun, the service goes on by itself; the caller may repeat it."""

    code = "people_unavailable"


class ForgottenSet:
    """The forgotten people, stored as the hidden items are: in a file, and in Redis where replicas share them.

    `on_change` gets those people who were forgotten since the last change.
    """

    def __init__(
        self,
        path: Path,
        shared: RedisHiddenItems | None,
        metrics: UserMetrics,
        on_change: Callable[[ForgottenPeople], None],
    ) -> None:
        self._on_change = on_change
        self._store = HiddenItems(path, shared, metrics.forgotten_people, self._apply, table=TABLE)
        self._elements = self._store.ids
        self.people = ForgottenPeople.of(self._elements)

    @property
    def elements(self) -> frozenset[str]:
        """What the file of a retraining holds (index/forgotten.py)."""
        return self._store.ids

    @property
    def state(self) -> str:
        """How current the set is, as of hidden items."""
        return self._store.state

    def times(self, user_id: str) -> list[Forgetting]:
        """When this person was forgotten; empty for one who was not."""
        return self.people.times(user_id)

    async def add(self, user_id: str, until: int, receipt: str) -> None:
        """Forget the person here and durably; PeopleUnavailableError where that cannot be."""
        try:
            if not self.people.keys:
                await self._store.set(f"key:{secrets.token_hex(KEY_BYTES)}", hidden=True)
            element = f"{person_hash(user_id, self.people.keys[0])}.{until}.{receipt}"
            await self._store.set(element, hidden=True)
        except HiddenItemsUnavailableError as error:
            raise PeopleUnavailableError(error.detail) from error

    async def read(self, *, shared: bool) -> None:
        """Apply what other replicas, or else other workers, have added."""
        await (self._store.poll() if shared else self._store.read_file())

    def _apply(self, elements: frozenset[str]) -> None:
        new = elements - self._elements
        self._elements = elements
        self.people = ForgottenPeople.of(elements)
        keys = {element for element in elements if element.startswith("key:")}
        self._on_change(ForgottenPeople.of(new | keys))
