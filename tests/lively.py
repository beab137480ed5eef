"""UserLookup, their events and what follows them, as the service ties them together, without HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.bundle import Bundle
from service.events.event import GivenEvent
from service.events.intake import EventIntake
from service.events.kinds import BUILT_IN
from service.events.open_log import open_intake
from service.live import LiveUpdates, open_live
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.users.lookup import UserLookup

Array = np.ndarray[Any, Any]


@dataclass
class World:
    """One replica."""

    users: UserLookup
    feedback: EventIntake
    live: LiveUpdates
    metrics: Metrics

    async def did(self, user_id: str, item_id: str, kind: str = "click", **more: Any) -> None:
        given = {"user_id": user_id, "item_id": item_id, "kind": kind}
        await self.feedback.accept([GivenEvent.model_validate(given | more)])

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for the condition, or fail."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def replica(bundle: Bundle, folder: Path, **changes: Any) -> AsyncIterator[World]:
    settings, metrics = Settings(registry=folder, data=folder, **changes), Metrics()
    async with (
        open_intake(settings, metrics) as feedback,
        open_live(settings, metrics, feedback, lambda: None) as live,
    ):
        world = World(live.lookup_for(bundle, None), feedback, live, metrics)
        await until(lambda: live.freshness.follows_events)
        yield world


def naive(bundle: Bundle, user_id: str, events: Sequence[tuple[str, str]]) -> tuple[Array, set[int], set[int]]:
    """Vector, past and excluded rows after events (item_id, kind), by the fold-in formula of docs/bundle.md."""
    row = bundle.user_ids.row(user_id)
    past = set() if row is None else set(bundle.seen(row).tolist())
    excluded: set[int] = set()
    for item_id, kind in events:
        item = bundle.item_ids.row(item_id)
        if item is not None and kind in BUILT_IN.positive:
            past.add(item)
            excluded.discard(item)
        elif item is not None and kind == "dislike":
            past.discard(item)
            excluded.add(item)
    own = np.zeros(bundle.fold_in.shape[1]) if row is None else bundle.user_own[row].astype(np.float64)
    added = sum((bundle.fold_in[item].astype(np.float64) for item in past), np.zeros(len(own)))
    return own + (len(past) ** -0.5 * added if past else 0), past, excluded
