"""What changes between trainings: events, trending items and hidden items, applied to every loaded bundle.

Opened once a process; it outlives the bundles.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from weakref import WeakSet

from index.bundle import Bundle
from index.forgotten import ForgottenPeople
from service.background import Work, supervised
from service.bundles.loaded import LoadedBundle
from service.events.event import Event
from service.events.exposure import Exposure
from service.events.follower import EventFollower
from service.events.freshness import EventFreshness
from service.events.intake import EventIntake
from service.events.trending import HOUR_S, Trending
from service.hidden.hidden_items import HiddenItems
from service.hidden.redis_store import HIDDEN_CHANGED, RedisHiddenItems
from service.people.forgotten_set import FORGOTTEN_CHANGED, ForgottenSet
from service.ranking.constraints import known_rows
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, within
from service.redis.pubsub import PubSub
from service.settings import UserSettings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup
from service.users.vector_cache import VectorCache
from service.workers.siblings import Siblings

DAY_S = 86_400.0
CONTROL_FILE = "control.sqlite"
PEOPLE_FILE = "people.sqlite"
WORKERS_S = 2.0  # a change waits so long until the other workers have applied it
USERS_CHANGED = "users"  # the kind of message that names users with new events


class LiveUpdates:
    """Follows new events and hidden items, and applies them to every loaded bundle.

    `on_change` is called when the responses of all users may have changed.
    """

    def __init__(
        self,
        settings: UserSettings,
        metrics: Metrics,
        feedback: EventIntake,
        *,
        redis: RedisClient | None,
        siblings: Siblings | None,
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._feedback = feedback
        self._on_change = on_change
        self._clock = clock
        self._lookups: WeakSet[UserLookup] = WeakSet()
        self._bundles: WeakSet[LoadedBundle] = WeakSet()
        metrics.kept_bytes.labels("profiles").set_function(lambda: self._profile_bytes)
        self._siblings = siblings
        stamps = None if siblings is None else siblings.worker.memory.stamps
        self.freshness = EventFreshness(time.monotonic, settings.lru_stale_s, stamps)
        self.trending = Trending(
            feedback.kinds,
            most_hours=settings.trending_hours,
            most_counts=settings.trending_counts,
        )
        self.exposure = Exposure(
            feedback.kinds,
            half_life_s=settings.exploration_half_life_days * DAY_S,
            refresh_s=settings.exploration_refresh_s,
            most_items=settings.exploration_items,
            most_places=settings.exploration_places,
            label=feedback.known_bundles.label,
        )
        self.pubsub, shared, shared_people = None, None, None
        if redis is not None:
            self.pubsub = PubSub(redis, settings.namespace, secrets.token_hex(8), metrics)
            self.pubsub.handlers[USERS_CHANGED] = self._drop_profiles
            self.pubsub.handlers[HIDDEN_CHANGED] = lambda _: self._poll_hidden_now.set()
            self.pubsub.handlers[FORGOTTEN_CHANGED] = lambda _: self._poll_hidden_now.set()
            shared = RedisHiddenItems(redis, settings.namespace, self.pubsub)
            shared_people = RedisHiddenItems(redis, settings.namespace, self.pubsub, FORGOTTEN_CHANGED)
        self.hidden = HiddenItems(settings.data_folder / CONTROL_FILE, shared, metrics.hidden_items, self._hide)
        self._poll_hidden_now = asyncio.Event()
        self.on_forgotten: list[Callable[[ForgottenPeople], None]] = [self._forget]
        self.forgotten = ForgottenSet(settings.data_folder / PEOPLE_FILE, shared_people, metrics, self._tell_forgotten)
        if siblings is not None:
            siblings.handlers[HIDDEN_CHANGED] = self._apply_hidden
            siblings.handlers[FORGOTTEN_CHANGED] = self._apply_forgotten
        self.follower = EventFollower(
            feedback.log,
            self.freshness,
            metrics,
            since=clock() - settings.trending_hours * HOUR_S,
            poll_s=settings.live_poll_s,
            on_events=self._on_log_events,
            on_loss=self._on_log_loss,
        )
        feedback.listeners.append(self._on_accepted_events)

    def now(self) -> float:
        """The current time in unix seconds."""
        return self._clock()

    def lookup_for(self, bundle: Bundle, cache: VectorCache | None) -> UserLookup:
        """A user lookup for the bundle; new events invalidate its cached profiles while it exists."""
        lookup = UserLookup(
            bundle,
            cache,
            self._feedback.log,
            freshness=self.freshness,
            settings=self._settings,
            metrics=self._metrics,
            forgotten=self.forgotten,
        )
        self._lookups.add(lookup)
        return lookup

    def attach(self, loaded: LoadedBundle) -> None:
        """Hide the hidden items in a bundle before it serves, and apply later changes while it is loaded."""
        self._bundles.add(loaded)
        self._lookups.add(loaded.users)
        loaded.hide(known_rows(self.hidden.ids, loaded.bundle.item_ids))

    def detach(self, loaded: LoadedBundle) -> None:
        """Another state of the same bundle takes its place."""
        self._bundles.discard(loaded)

    @property
    def _profile_bytes(self) -> int:
        """The cached profiles' memory; several lookups of one bundle share a cache."""
        return sum(cache.n_bytes for cache in {lookup.profiles for lookup in self._lookups})

    def _hide(self, ids: frozenset[str]) -> None:
        for loaded in self._bundles:
            loaded.hide(known_rows(ids, loaded.bundle.item_ids))
        self._on_change()

    def _on_accepted_events(self, events: Sequence[Event]) -> None:
        """Called with events that this replica accepted, before the response is sent."""
        user_ids = self._users_in(events)
        self._drop_profiles(user_ids)
        if self.freshness.stamps is not None:
            self.freshness.stamps.replace(user_ids)
        if self.pubsub is not None and self._settings.event_log == "redis":
            self.pubsub.send(USERS_CHANGED, user_ids)

    def _on_log_events(self, events: Sequence[Event]) -> None:
        """Called with new events of the log, from all replicas."""
        self._drop_profiles(self._users_in(events))
        self.trending.add(events, self._clock())
        self.exposure.add(events, self._clock())

    def _users_in(self, events: Sequence[Event]) -> list[str]:
        return list({event.user_id for event in events if event.kind in self._feedback.kinds.in_profile})

    def _drop_profiles(self, user_ids: Sequence[str]) -> None:
        for lookup in self._lookups:
            lookup.invalidate(user_ids)

    def _on_log_loss(self) -> None:
        """The log lost events, so cached profiles may contain events that it no longer has."""
        for lookup in self._lookups:
            lookup.clear()

    async def set_hidden(self, item_id: str, *, hidden: bool) -> None:
        """Hide or show an item, as HiddenItems.set; the other workers have applied it, too, or WORKERS_S are over."""
        await self.hidden.set(item_id, hidden=hidden)
        if self._siblings is not None:
            await self._siblings.ask(HIDDEN_CHANGED, within_s=WORKERS_S)

    async def forget(self, user_id: str, until: int, receipt: str) -> None:
        """Leave the person out of every bundle, as ForgottenSet.add; the other workers do, too, or WORKERS_S are over.

        Their events must be gone from the log: caches are cleared here, and filled again at once.
        """
        await self.forgotten.add(user_id, until, receipt)
        if self._siblings is not None:
            await self._siblings.ask(FORGOTTEN_CHANGED, within_s=WORKERS_S)

    def drop_cached(self, user_id: str) -> None:
        """Drop what is cached of a user, here, in other workers and, by a message, on other replicas."""
        self._drop_profiles([user_id])
        if self.freshness.stamps is not None:
            self.freshness.stamps.replace([user_id])
        if self.pubsub is not None:
            self.pubsub.send(USERS_CHANGED, [user_id])

    def _tell_forgotten(self, people: ForgottenPeople) -> None:
        for listener in self.on_forgotten:
            listener(people)

    def _forget(self, people: ForgottenPeople) -> None:
        for lookup in self._lookups:
            lookup.clear()
        self._feedback.drop_impressions(lambda user_id: bool(people.times(user_id)))
        self._on_change()

    async def _apply_forgotten(self, _: list[str]) -> bytes:
        """Called by a worker that has forgotten a person."""
        await self.forgotten.read(shared=self.pubsub is not None)
        return b""

    async def _apply_hidden(self, _: list[str]) -> bytes:
        """Called by a worker that has hidden or shown an item."""
        await self._poll_hidden()
        return b""

    async def _poll_hidden(self) -> None:
        if self.pubsub is None and self._siblings is not None:
            await self.hidden.read_file()
        else:
            await self.hidden.poll()

    async def follow_hidden(self) -> None:
        """Poll what others hide, at intervals and after each message of another replica, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poll_hidden_now.wait(), self._settings.live_poll_s)
            self._poll_hidden_now.clear()
            await self._poll_hidden()
            await self.forgotten.read(shared=self.pubsub is not None)


@asynccontextmanager
async def open_live(
    settings: UserSettings,
    metrics: Metrics,
    feedback: EventIntake,
    on_change: Callable[[], None],
    *,
    clock: Callable[[], float] = time.time,
    siblings: Siblings | None = None,
) -> AsyncIterator[LiveUpdates]:
    """Live updates, with their background tasks until the end."""
    async with AsyncExitStack() as stack:
        redis = None
        if settings.redis_url is not None:
            redis = connect(settings.redis_url.get_secret_value())
            stack.push_async_callback(_close, redis)
        live = LiveUpdates(
            settings, metrics, feedback, redis=redis, siblings=siblings, on_change=on_change, clock=clock
        )
        await live.hidden.poll()
        await live.forgotten.read(shared=True)
        work: dict[str, Work] = {"event_follower": live.follower.run}  # does not delay the service's start
        if live.pubsub is not None:
            stack.push_async_callback(live.pubsub.close)
            work["message_listener"] = live.pubsub.listen
        if live.pubsub is not None or siblings is not None:
            work["hidden_items"] = live.follow_hidden
        async with supervised(metrics, work):
            yield live


async def _close(redis: RedisClient) -> None:
    with suppress(*FAILURES):
        await within(redis.aclose(), CLOSE_S)
