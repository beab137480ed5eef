"""UserLookup by their outside id: kept in memory, else made of the log's events, of Redis, of the bundle's row."""

import asyncio
from collections.abc import Iterable, Sequence
from contextvars import Context
from functools import partial

from index.bundle import Bundle
from service.errors import UnknownUserError
from service.events.event import Event
from service.events.freshness import EventFreshness
from service.events.log import EventLog, LogUnavailable
from service.ranking.profile import NO_ROWS, Profile, fold_in, trained
from service.settings import MEGABYTE, Settings
from service.telemetry.metrics import Metrics
from service.users.fold_in_events import EventWeights, with_events
from service.users.profile_cache import OUTDATED, ProfileCache
from service.users.vector_cache import VectorCache
from service.users.vector_keys import Vector, user_key


class UserLookup:
    """The profiles of one bundle's users: one of bundle A never meets the index of bundle B.

    A profile is never changed, only replaced: the same object is the same knowledge. Whoever learns of new events
    calls `drop` before anybody is told that they were accepted, so that the next answer is made with them.
    """

    def __init__(
        self,
        bundle: Bundle,
        cache: VectorCache | None,
        log: EventLog,
        *,
        freshness: EventFreshness,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._bundle = bundle
        self._cache = cache
        self._log = log
        self._trust = freshness
        self._settings = settings
        self._events_in_redis = settings.event_log == "redis"
        self._weighing = EventWeights.of(settings)
        self._loading: dict[str, asyncio.Task[Profile]] = {}
        self._counts = {name: metrics.vectors.labels(name) for name in ("memory", "redis", "bundle", "fold_in", "none")}
        self._unread = metrics.events_unread
        self.unknown_profile = fold_in(
            bundle, NO_ROWS, NO_ROWS, source="fold_in"
        )  # of whom nothing is known; it ranks nothing
        self._kept = ProfileCache(settings.profile_cache_mb * MEGABYTE, freshness, self.unknown_profile)

    @property
    def n_bytes(self) -> int:
        """About how much memory the profiles take that are kept."""
        return self._kept.n_bytes

    def peek(self, user_id: str) -> Profile | None:
        """The profile if it is kept in memory and surely up to date: no await, no Redis. Refuses as `find` does."""
        found = self._kept.get(user_id)
        if found is not None:
            self._counts["memory"].inc()
            self._refuse_unknown(user_id, found)
        return found

    async def find(self, user_id: str) -> Profile:
        """The profile; `nobody` for an unknown user, or UnknownUserError where the operator prefers that.

        Those who ask for the same user at the same time wait for one reading.
        """
        found = self.peek(user_id)
        if found is None:
            loading = self._loading.get(user_id)
            if loading is None:
                # Outside the request that happens to start it: it may end while others wait.
                loading = asyncio.get_running_loop().create_task(self._load(user_id), context=Context())
                loading.add_done_callback(partial(self._loaded, user_id))
                self._loading[user_id] = loading
            found = await asyncio.shield(loading)
            self._refuse_unknown(user_id, found)
        return found

    def _refuse_unknown(self, user_id: str, found: Profile) -> None:
        if found is self.unknown_profile and self._settings.unknown_user == "404":
            raise UnknownUserError(f"user_id: nothing is known of {user_id[:80]!r}")

    def drop(self, user_ids: Iterable[str]) -> None:
        """These users did something: forget them, and what is being read of them at this moment."""
        for user_id in user_ids:
            self._kept.drop(user_id)
            self._loading.pop(user_id, None)

    def forget(self) -> None:
        """Forget all users."""
        self._kept.clear()
        self._loading.clear()

    async def events(self, user_id: str) -> list[Event]:
        """The user's events that the log holds; LogUnavailable where it cannot be read."""
        return await self._log.of_user(user_id)

    def _loaded(self, user_id: str, task: "asyncio.Task[Profile]") -> None:
        if self._loading.get(user_id) is task:
            del self._loading[user_id]

    async def _load(self, user_id: str) -> Profile:
        """Read the user, and keep what was read, to be believed unless an event came meanwhile."""
        at, task = self._trust.now(), asyncio.current_task()
        row, vector = self._bundle.user_ids.row(user_id), None
        if row is not None and self._events_in_redis:  # both at once, in the time of one round trip
            events, vector = await asyncio.gather(self._events(user_id), self._vector(user_id, row))
        else:
            events = await self._events(user_id)
        if events is None:
            self._unread.inc()
            return self._kept.last_known(user_id) or await self._made(user_id, row, (), vector)
        profile = await self._made(user_id, row, events, vector)
        self._kept.put(user_id, profile, at if self._loading.get(user_id) is task else OUTDATED)
        return profile

    async def _events(self, user_id: str) -> Sequence[Event] | None:
        """The user's events, None where the log cannot be read."""
        try:
            return await self.events(user_id)
        except LogUnavailable:
            return None

    async def _made(self, user_id: str, row: int | None, events: Sequence[Event], vector: Vector | None) -> Profile:
        profile = with_events(self._bundle, row, events, self._weighing) if events else None
        if profile is not None:
            self._counts["fold_in"].inc()
            return profile
        if row is None:
            self._counts["none"].inc()
            return self.unknown_profile
        return trained(self._bundle, row, await self._vector(user_id, row) if vector is None else vector)

    async def _vector(self, user_id: str, row: int) -> Vector:
        """The vector that training gave: out of Redis, or the bundle's row, which Redis is then given."""
        own: Vector = self._bundle.user_embeddings[row]
        cached = False
        if self._cache is not None:
            key = user_key(self._settings.namespace, self._bundle.bundle_id, user_id)
            own, cached = await self._cache.get(key, own)
        self._counts["redis" if cached else "bundle"].inc()
        return own
