"""Looks up a user's profile by user id: in memory, else from the log's events, from Redis or from the bundle."""

import asyncio
import copy
from collections.abc import Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Literal, NamedTuple, Protocol, get_args

from index.bundle import Bundle
from index.forgotten import ForgottenPeople
from index.recommending.profile import NO_ROWS, Profile, fold_in, trained_profile
from service.errors import UnknownUserError
from service.events.event import Event
from service.events.freshness import EventFreshness
from service.events.kinds import event_kinds
from service.events.log import EventLog, LogUnavailable
from service.settings import MEGABYTE, UserSettings
from service.telemetry.metrics import UserMetrics
from service.users.awaited_items import AwaitedItems, untrained_items
from service.users.fold_in_events import profile_from_events
from service.users.profile_cache import OUTDATED, ProfileCache
from service.users.vector_cache import VectorCache
from service.users.vector_keys import Vector, user_key

Source = Literal["memory", "redis", "bundle", "fold_in", "none"]


class _Loaded(NamedTuple):
    profile: Profile
    source: Source


class _Loading(NamedTuple):
    task: "asyncio.Task[_Loaded]"
    stamp: int  # the user's when it began


class KnowsForgotten(Protocol):
    """The forgotten people, who may be others at any time."""

    @property
    def people(self) -> ForgottenPeople: ...


class _NoOneForgotten:
    people = ForgottenPeople()


class UserLookup:
    """The profiles of one bundle's users, which are never used with another bundle's index.

    A profile is immutable, so the same object means the same knowledge of the user. New events must be followed by
    `invalidate` before their caller receives the response, so that the next request uses them.
    """

    def __init__(
        self,
        bundle: Bundle,
        cache: VectorCache | None,
        log: EventLog,
        *,
        freshness: EventFreshness,
        settings: UserSettings,
        metrics: UserMetrics,
        forgotten: KnowsForgotten | None = None,
    ) -> None:
        self._bundle = bundle
        self._forgotten = forgotten or _NoOneForgotten()
        self._left_out = frozenset(bundle.manifest.forgotten)
        self._cache = cache
        self._log = log
        self._freshness = freshness
        self._settings = settings
        self._events_in_redis = settings.event_log == "redis"
        self._kinds = event_kinds(settings)
        self._loading: dict[str, _Loading] = {}
        self._counts = {source: metrics.vectors.labels(source) for source in get_args(Source)}
        self._unread = metrics.events_unread
        self.unknown_profile = fold_in(bundle, NO_ROWS, NO_ROWS, source="fold_in")  # shared by all unknown users
        self.profiles = ProfileCache(settings.profile_cache_mb * MEGABYTE, freshness, self.unknown_profile)
        self._awaited = AwaitedItems(bundle)

    def over(self, bundle: Bundle, changed_ids: Sequence[str]) -> "UserLookup":
        """The lookup for the next state of the bundle's living items, of which these are new or have other vectors.

        Both share one cache of profiles, without those that depend on these items.
        """
        after = copy.copy(self)
        after._bundle, after._loading = bundle, {}
        self._awaited.newest = bundle
        users = self._awaited.users_of(changed_ids) if changed_ids else set()
        if users is None:
            self.clear()
        else:
            self.invalidate(users)
        return after

    @property
    def n_bytes(self) -> int:
        """Roughly the memory that the cached profiles take."""
        return self.profiles.n_bytes

    def peek(self, user_id: str) -> Profile | None:
        """The cached profile if it is fresh, without an await; UnknownUserError as for `find`."""
        profile = self._cached(user_id)
        if profile is not None:
            self._counts["memory"].inc()
            self._refuse_unknown(user_id, profile)
        return profile

    async def find(self, user_id: str) -> Profile:
        """The profile, `unknown_profile` for an unknown user; with unknown_user=404 UnknownUserError for that one.

        Concurrent requests for one user share one load; those that join it count as `memory`.
        """
        profile = self.peek(user_id)
        return profile or await self._join_load(user_id, count=True)

    async def find_for_replay(self, user_id: str) -> Profile:
        """As `find`, for a request that no caller sends, or that was counted when its caller sent it."""
        cached = self._cached(user_id)
        return cached or await self._join_load(user_id, count=False)

    async def _join_load(self, user_id: str, *, count: bool) -> Profile:
        loading, stamp = self._loading.get(user_id), self.profiles.stamp(user_id)
        joins = loading is not None and loading.stamp == stamp
        if loading is None or not joins:
            # In a context of its own: the request that starts it may end while others wait.
            task = asyncio.get_running_loop().create_task(self._load(user_id, stamp), context=Context())
            task.add_done_callback(partial(self._end_loading, user_id))
            self._loading[user_id] = loading = _Loading(task, stamp)
        profile, source = await asyncio.shield(loading.task)
        if count:
            self._counts["memory" if joins else source].inc()
        self._refuse_unknown(user_id, profile)
        return profile

    def _cached(self, user_id: str) -> Profile | None:
        """The cached profile if it is fresh, and of no later state of the living items than the bundle is."""
        profile = self.profiles.get(user_id)
        return profile if profile is None or self._may_use(profile) else None

    def _may_use(self, profile: Profile) -> bool:
        if self._awaited.newest is self._bundle:
            return True
        n_items = len(self._bundle.item_ids)
        return all(rows.max(initial=-1) < n_items for rows in (profile.past, profile.excluded))

    def _refuse_unknown(self, user_id: str, profile: Profile) -> None:
        if profile is self.unknown_profile and self._settings.unknown_user == "404":
            raise UnknownUserError(f"user_id: nothing is known of {user_id[:80]!r}")

    def is_cached(self, user_id: str) -> bool:
        """Whether this process has a profile of the user in memory that it may serve."""
        return self.profiles.get(user_id) is not None

    def invalidate(self, user_ids: Iterable[str]) -> None:
        """Mark the profiles of users with new events as outdated, those that are being loaded included."""
        for user_id in user_ids:
            self.profiles.invalidate(user_id)
            self._loading.pop(user_id, None)

    def row(self, user_id: str) -> int | None:
        """The user's row in the bundle; None for an unknown user, and for one whom training did not yet leave out."""
        row = self._bundle.user_ids.row(user_id)
        return None if row is None or self.is_forgotten(user_id) else row

    def is_forgotten(self, user_id: str) -> bool:
        """Whether the bundle's training did not leave out what the person had done before they were forgotten."""
        return any(one.receipt not in self._left_out for one in self._forgotten.people.times(user_id))

    def clear(self) -> None:
        """Remove all users from the cache, also those that are being loaded."""
        self.profiles.clear()
        self._awaited.clear()
        self._loading.clear()

    async def events(self, user_id: str) -> list[Event]:
        """The user's events in the log; LogUnavailable where it cannot be read."""
        return await self._log.user_events(user_id)

    def _end_loading(self, user_id: str, task: "asyncio.Task[_Loaded]") -> None:
        if self._is_latest(user_id, task):
            del self._loading[user_id]

    def _is_latest(self, user_id: str, task: "asyncio.Task[_Loaded] | None") -> bool:
        """Whether no event arrived since this load began."""
        loading = self._loading.get(user_id)
        return loading is not None and loading.task is task

    async def _load(self, user_id: str, stamp: int) -> _Loaded:
        """Build the profile and cache it, as outdated if an event arrived meanwhile."""
        at, task = self._freshness.clock(), asyncio.current_task()
        row, trained, clearings = self.row(user_id), None, self.profiles.clearings
        if row is not None and self._events_in_redis:  # both in the time of one round trip
            events, trained = await asyncio.gather(self._readable_events(user_id), self._trained(user_id, row))
        else:
            events = await self._readable_events(user_id)
        if events is None:
            self._unread.inc()
            last_known = self.profiles.last_known(user_id)
            if last_known is not None and self._may_use(last_known):
                return _Loaded(last_known, "memory")
        awaited = untrained_items(self._bundle, events) if events else set()
        if awaited:
            self._awaited.remember(user_id, awaited)
        loaded = self._folded_in(row, events or ())
        if loaded is None and row is not None:
            loaded = trained or await self._trained(user_id, row)
        loaded = loaded or _Loaded(self.unknown_profile, "none")
        if events is not None and clearings == self.profiles.clearings:
            is_latest = self._is_latest(user_id, task) and not (awaited and self._awaited.newest is not self._bundle)
            self.profiles.put(user_id, loaded.profile, at if is_latest else OUTDATED, stamp)
        return loaded

    async def _readable_events(self, user_id: str) -> Sequence[Event] | None:
        """The user's events, None where the log cannot be read."""
        try:
            return await self.events(user_id)
        except LogUnavailable:
            return None

    def _folded_in(self, row: int | None, events: Sequence[Event]) -> _Loaded | None:
        profile = profile_from_events(self._bundle, row, events, self._kinds) if events else None
        return None if profile is None else _Loaded(profile, "fold_in")

    async def _trained(self, user_id: str, row: int) -> _Loaded:
        """The profile of training, with the vector from Redis or else from the bundle."""
        vector: Vector = self._bundle.user_embeddings[row]
        cached = False
        if self._cache is not None:
            key = user_key(self._settings.namespace, self._bundle.bundle_id, user_id)
            vector, cached = await self._cache.get(key, vector)
        return _Loaded(trained_profile(self._bundle, row, vector), "redis" if cached else "bundle")
