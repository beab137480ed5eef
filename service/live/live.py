"""Ties together what is live: opened once a process, whatever bundles come and go."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from weakref import WeakSet

from index.bundle import Bundle
from service.events.event import PROFILE, Event
from service.events.intake import Feedback
from service.live.follower import Follower
from service.live.kept import Trust
from service.live.signals import Signals
from service.metrics import Metrics
from service.redis_client import FAILURES, connect
from service.settings import Settings
from service.users import Users
from service.vector_cache import CLOSE_S, VectorCache, within

USERS = "users"  # the kind of signal that names users who did something


class Live:
    """What is learned between trainings, and who must hear of it. `signals` is None where there are no replicas."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        feedback: Feedback,
        signals: Signals | None,
        clock: Callable[[], float],
    ) -> None:
        self.trust = Trust(time.monotonic, settings.lru_stale_s)
        self.signals = signals
        self._settings = settings
        self._metrics = metrics
        self._feedback = feedback
        self._clock = clock
        self._users: WeakSet[Users] = WeakSet()
        self._several = signals is not None and settings.event_log == "redis"
        self.follower = Follower(
            feedback.log,
            self.trust,
            metrics,
            since=clock(),
            poll_s=settings.live_poll_s,
            on_events=self._followed,
            on_loss=self._lost,
        )
        feedback.listeners.append(self._accepted)
        if signals is not None:
            signals.handlers[USERS] = self._drop

    def users_of(self, bundle: Bundle, cache: VectorCache | None) -> Users:
        """The users of a bundle, told of every event as long as anybody holds them."""
        users = Users(
            bundle, cache, self._feedback.log, trust=self.trust, settings=self._settings, metrics=self._metrics
        )
        self._users.add(users)
        return users

    def _accepted(self, events: Sequence[Event]) -> None:
        """Events that this replica took in, before its caller is told so."""
        user_ids = _users_in(events)
        self._drop(user_ids)
        if self._several and self.signals is not None:
            self.signals.send(USERS, user_ids)

    def _followed(self, events: Sequence[Event]) -> None:
        """Events of all replicas, as the log has them."""
        self._drop(_users_in(events))

    def _drop(self, user_ids: Sequence[str]) -> None:
        for users in self._users:
            users.drop(user_ids)

    def _lost(self) -> None:
        """The log lost its memory, so what was made of it is no longer what the log says."""
        for users in self._users:
            users.forget()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the requests until the end."""
        return [self.follower.run(), *([] if self.signals is None else [self.signals.listen()])]


def _users_in(events: Sequence[Event]) -> list[str]:
    return list({event.user_id for event in events if event.kind in PROFILE})


@asynccontextmanager
async def open_live(
    settings: Settings, metrics: Metrics, feedback: Feedback, clock: Callable[[], float] = time.time
) -> AsyncIterator[Live]:
    """What is live, followed until the end."""
    async with AsyncExitStack() as stack:
        signals = None if settings.redis_url is None else await stack.enter_async_context(_signals(settings, metrics))
        live = Live(settings, metrics, feedback, signals, clock)
        await live.follower.poll()  # so that the first answers can be kept
        tasks = [asyncio.create_task(work) for work in live.work()]
        try:
            yield live
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _signals(settings: Settings, metrics: Metrics) -> AsyncIterator[Signals]:
    assert settings.redis_url is not None
    redis = connect(settings.redis_url.get_secret_value())
    signals = Signals(redis, settings.namespace, secrets.token_hex(8), metrics)
    try:
        yield signals
    finally:
        await signals.close()
        with suppress(*FAILURES):
            await within(redis.aclose(), CLOSE_S)
