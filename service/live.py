"""Ties together what is live: opened once a process, whatever bundles come and go."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from weakref import WeakSet

from index.bundle import Bundle
from service.bundles.loaded import LoadedBundle
from service.events.event import PROFILE, Event
from service.events.follower import EventFollower
from service.events.freshness import EventFreshness
from service.events.intake import EventIntake
from service.events.trending import HOUR_S, Trending
from service.hidden.hidden_items import HiddenItems
from service.hidden.redis_store import KIND as HIDDEN
from service.hidden.redis_store import RedisHiddenItems
from service.ranking.constraints import known_rows
from service.redis.client import CLOSE_S, FAILURES, RedisClient, connect, within
from service.redis.pubsub import PubSub
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.fold_in_events import EventWeights
from service.users.lookup import UserLookup
from service.users.vector_cache import VectorCache

FILE = "control.sqlite"
USERS = "users"  # the kind of signal that names users who did something


class LiveUpdates:
    """What is learned between trainings, and whatever bundle must hear of it.

    `on_change` is called when answers to everybody may be others than before.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        feedback: EventIntake,
        *,
        redis: RedisClient | None,
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._feedback = feedback
        self._on_change = on_change
        self._clock = clock
        self._users: WeakSet[UserLookup] = WeakSet()
        self._serving: WeakSet[LoadedBundle] = WeakSet()
        metrics.kept_bytes.labels("profiles").set_function(lambda: sum(users.n_bytes for users in self._users))
        self.freshness = EventFreshness(time.monotonic, settings.lru_stale_s)
        self.trending = Trending(
            EventWeights.from_settings(settings).by_kind,
            most_hours=settings.trending_hours,
            most_counts=settings.trending_counts,
        )
        self.pubsub, shared = None, None
        if redis is not None:
            self.pubsub = PubSub(redis, settings.namespace, secrets.token_hex(8), metrics)
            self.pubsub.handlers.update({USERS: self._drop, HIDDEN: self._look_at_hidden})
            shared = RedisHiddenItems(redis, settings.namespace, self.pubsub)
        self.hidden = HiddenItems(settings.data_folder / FILE, shared, metrics, self._hide)
        self._hidden_news = asyncio.Event()
        self.follower = EventFollower(
            feedback.log,
            self.freshness,
            metrics,
            since=clock() - settings.trending_hours * HOUR_S,
            poll_s=settings.live_poll_s,
            on_events=self._followed,
            on_loss=self._lost,
        )
        feedback.listeners.append(self._accepted)

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def lookup_for(self, bundle: Bundle, cache: VectorCache | None) -> UserLookup:
        """The users of a bundle; every event reaches them while the bundle is loaded."""
        users = UserLookup(
            bundle, cache, self._feedback.log, freshness=self.freshness, settings=self._settings, metrics=self._metrics
        )
        self._users.add(users)
        return users

    def attach(self, loaded: LoadedBundle) -> None:
        """Hide from a bundle, before it serves, what is hidden now, and tell it of every change while it lives."""
        self._serving.add(loaded)
        if self.hidden.ids:
            loaded.hide(known_rows(self.hidden.ids, loaded.bundle.item_ids))

    def _hide(self, ids: frozenset[str]) -> None:
        for loaded in self._serving:
            loaded.hide(known_rows(ids, loaded.bundle.item_ids))
        self._on_change()

    def _look_at_hidden(self, _: Sequence[str]) -> None:
        self._hidden_news.set()

    def _accepted(self, events: Sequence[Event]) -> None:
        """Events that this replica took in, before its caller is told so."""
        user_ids = _users_in(events)
        self._drop(user_ids)
        if self.pubsub is not None and self._settings.event_log == "redis":
            self.pubsub.send(USERS, user_ids)

    def _followed(self, events: Sequence[Event]) -> None:
        """Events of all replicas, as the log has them."""
        self._drop(_users_in(events))
        self.trending.add(events, self._clock())

    def _drop(self, user_ids: Sequence[str]) -> None:
        for users in self._users:
            users.invalidate(user_ids)

    def _lost(self) -> None:
        """The log lost its memory, so what was made of it is no longer what the log says."""
        for users in self._users:
            users.clear()

    async def follow_hidden(self) -> None:
        """See what other replicas hide, at once when they say so and now and then anyway, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hidden_news.wait(), self._settings.live_poll_s)
            self._hidden_news.clear()
            await self.hidden.poll()


def _users_in(events: Sequence[Event]) -> list[str]:
    return list({event.user_id for event in events if event.kind in PROFILE})


@asynccontextmanager
async def open_live(
    settings: Settings,
    metrics: Metrics,
    feedback: EventIntake,
    on_change: Callable[[], None],
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[LiveUpdates]:
    """What is live, followed until the end."""
    async with AsyncExitStack() as stack:
        redis = None
        if settings.redis_url is not None:
            redis = connect(settings.redis_url.get_secret_value())
            stack.push_async_callback(_close, redis)
        live = LiveUpdates(settings, metrics, feedback, redis=redis, on_change=on_change, clock=clock)
        await live.hidden.poll()
        work = [live.follower.run()]  # begins at once, and does not hold up the start
        if live.pubsub is not None:
            stack.push_async_callback(live.pubsub.close)
            work += [live.pubsub.listen(), live.follow_hidden()]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield live
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _close(redis: RedisClient) -> None:
    with suppress(*FAILURES):
        await within(redis.aclose(), CLOSE_S)
