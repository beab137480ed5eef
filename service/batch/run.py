"""A run that makes the lists of many users and writes them into one Parquet file."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from index.bundle import Bundle
from index.errors import InputError
from service.batch.lists import ListMaker, ListOptions, run_constraints
from service.batch.opening import opened_lists, users_with_events
from service.batch.parts import Parts, open_parts
from service.batch.users_file import Users, users_of
from service.batch.workers import InProcess, Maker, Part, RunPlan, children, one_thread
from service.bundles.open_published import open_published
from service.errors import ServiceError
from service.events.log import EventLog
from service.ranking.constraints import Constraints
from service.settings import Settings

PART_USERS = 10_000

OnProgress = Callable[[int, int], None]  # users done, of how many


@dataclass(frozen=True)
class RunRequest:
    """What to make, and where to write it."""

    users: str  # a Parquet file, or `all`
    out: Path
    options: ListOptions
    workers: int


class Made(NamedTuple):
    """The outcome of a run."""

    file: str
    bundle: str
    users: int
    rows: int
    kept_parts: int  # of an earlier run that was interrupted
    hidden_items: str  # how current they were known
    warnings: Sequence[str]  # what in the filter had no effect


async def make_lists(settings: Settings, request: RunRequest, on_progress: OnProgress, *, now: float) -> Made:
    """Make and write all lists. InputError, with nothing written, where a user, filter or rule is wrong.

    now: in unix seconds, for filters.
    """
    one_thread()
    if not 1 <= request.options.k <= settings.depth_max:
        raise InputError(f"k is {request.options.k}; expected 1 to {settings.depth_max} (RECO_DEPTH_MAX)")
    published = open_published(settings)
    async with opened_lists(settings, published) as opened:
        bundle = opened.loaded.bundle
        is_forgotten = opened.loaded.users.is_forgotten
        users = users_of(request.users, bundle.user_ids, is_forgotten, settings.id_max_chars)
        try:
            constraints = await run_constraints(opened.loaded, opened.rules, request.options.filters, now)
        except ServiceError as error:
            raise InputError(error.detail) from error
        plan = RunPlan(settings, bundle.bundle_id, request.options, now)
        about = _about(
            plan, await asyncio.to_thread(users.digest, PART_USERS), _digest(constraints, bundle, opened.forgotten)
        )
        n_parts = -(-len(users) // PART_USERS)
        with open_parts(request.out, about, n_parts) as parts:
            missing = parts.missing()
            run = _Run(plan, users, parts, missing, on_progress)
            lists_of = partial(ListMaker, opened.loaded, constraints, request.options, pool=settings.diversity_pool)
            await run.make_missing(lists_of, opened.log, request.workers)
            rows = await asyncio.to_thread(parts.join, about)
    return Made(
        str(request.out),
        bundle.bundle_id,
        len(users),
        rows,
        n_parts - len(missing),
        opened.hidden,
        constraints.warnings,
    )


def _about(plan: RunPlan, users: str, changes: str) -> dict[str, Any]:
    """What the lists depend on, beside the events; parts of a run of another kind are of no use."""
    return {
        "bundle": plan.bundle_id,
        "users": users,
        "k": plan.options.k,
        "exclude_seen": plan.options.exclude_seen,
        "changes": changes,
        "part_users": PART_USERS,
    }


def _digest(constraints: Constraints, bundle: Bundle, forgotten: Iterable[str]) -> str:
    """What identifies the items that may be shown, what rules do to them, and the people who were forgotten."""
    stored = [bundle.item_ids[row] for row in range(bundle.manifest.n_items, len(bundle.item_ids))]
    digest = hashlib.sha256(
        repr((stored, constraints.pins, [by for _, by in constraints.boosts], sorted(forgotten))).encode()
    )
    for rows in (constraints.within, *(rows for rows, _ in constraints.boosts)):
        digest.update(b"all" if rows is None else np.ascontiguousarray(rows, np.int64).tobytes())
    return digest.hexdigest()


class _Run:
    """The parts that are still to be made, and how many users are done."""

    def __init__(
        self, plan: RunPlan, users: Users, parts: Parts, missing: frozenset[int], on_progress: OnProgress
    ) -> None:
        self._plan = plan
        self._users = users
        self._parts = parts
        self._missing = missing
        self._on_progress = on_progress
        self._total = len(users)
        self._done = self._total - sum(min(PART_USERS, self._total - number * PART_USERS) for number in missing)

    async def make_missing(self, lists_of: Callable[[], ListMaker], log: EventLog, workers: int) -> None:
        """Make them in so many processes; one is this process, which makes lists by `lists_of`."""
        self._on_progress(self._done, self._total)
        if not self._missing:
            return
        pending, n = self._pending_parts(await users_with_events(log)), min(workers, len(self._missing))
        if n == 1:
            await self._work_off(InProcess(lists_of()), pending)
            return
        async with children(self._plan, n) as makers:
            await _together([self._work_off(maker, pending) for maker in makers])

    def _pending_parts(self, with_events: frozenset[str]) -> Iterator[Part]:
        for number, ids in enumerate(self._users.batches(PART_USERS)):
            if number in self._missing:
                yield Part(self._parts.path(number), self._parts.out, ids, with_events.intersection(ids))

    async def _work_off(self, maker: Maker, pending: Iterator[Part]) -> None:
        for part in pending:  # all makers take from it: the faster one makes more
            await maker.make(part)
            self._done += len(part.user_ids)
            self._on_progress(self._done, self._total)


async def _together(work: Sequence[Any]) -> None:
    """Do all of it at once; the first error ends the rest and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
