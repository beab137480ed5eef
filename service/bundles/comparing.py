"""Compares two bundles of the registry beside the one that serves, for people who choose between them.

A bundle that does not serve is opened memory-mapped, shares the arrays of equal files with the serving one, and stays
open for a while for the next comparison. One comparison runs at a time, in one thread.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from index.bundle import Bundle
from index.recommending.profile import NO_ROWS, Profile, excluded_rows
from index.side_by_side import SideBySide, compare_lists
from service.bundles.bundle_errors import (
    ComparisonBusyError,
    RegistryError,
    UnknownBundleError,
    UnreadableBundleError,
)
from service.bundles.open_published import open_verified
from service.bundles.swapper import REGISTRY_ERRORS, BundleSwapper
from service.errors import InvalidRequestError, UnknownUserError
from service.settings import BundleSettings
from service.users.lookup import UserLookup

Array = np.ndarray[Any, Any]

SAMPLE = 200  # users whose lists are compared
PLACES = 200  # of a user's list, among which the other bundle's items are looked for
OPEN_S = 60.0  # that a bundle stays open after a comparison
MOST_OPEN = 2
PAUSE_S = 0.002  # after each search, so that requests need not wait for the interpreter
FAULTS = (ValueError, OSError, MemoryError)  # of a bundle whose files are wrong, though its sums are right


@dataclass(frozen=True)
class UserList:
    """What one bundle recommends to a user, without rules and without changes of items since training."""

    source: str  # user, fold_in or popular
    rows: Array  # (<= PLACES,) item rows, best first
    scores: Array
    past: Array  # item rows, oldest first


@dataclass(frozen=True)
class Comparison:
    """Two open bundles, how much they agree, and the lists of the user, where one was named."""

    bundles: tuple[Bundle, Bundle]
    side_by_side: SideBySide
    lists: tuple[UserList, UserList] | None


class BundleComparison:
    """Runs one comparison at a time; a second one waits, and more are refused."""

    def __init__(
        self, swapper: BundleSwapper, settings: BundleSettings, lookup_for: Callable[[Bundle], UserLookup]
    ) -> None:
        self._swapper = swapper
        # Mapped also where the bundle that serves is read into memory: this one is looked at and closed again.
        self._settings = settings.model_copy(update={"bundle_files": "mapped"})
        self._lookup_for = lookup_for
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[Comparison]] = set()
        self._open: dict[str, tuple[Bundle, ExitStack]] = {}  # by bundle id, the latest last
        self._closing: asyncio.TimerHandle | None = None

    async def compare(
        self, a: str, b: str, *, k: int, user_id: str | None, hidden: Callable[[], list[str]]
    ) -> Comparison:
        """Compare two bundles; `hidden` gives the ids of items that no list may show.

        InvalidRequestError where both are the same, UnknownBundleError, UnreadableBundleError, ComparisonBusyError,
        RegistryError.
        """
        for bundle_id in (a, b):
            await self._require(bundle_id)
        if a == b:
            raise InvalidRequestError(f"a and b are both {a!r}; expected two different bundles")
        if len(self._tasks) > 1:
            raise ComparisonBusyError("one comparison of bundles is running and another one waits; retry")
        task = asyncio.create_task(self._in_turn(a, b, k, user_id, hidden))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)  # a thread cannot be cancelled, so that a caller's leaving frees no turn

    async def close(self) -> None:
        """Wait for the running comparison and close its bundles."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_all()

    async def _require(self, bundle_id: str) -> None:
        try:
            if await asyncio.to_thread(self._swapper.registry.holds, bundle_id):
                return
        except REGISTRY_ERRORS as error:
            raise RegistryError(str(error)) from error
        raise UnknownBundleError(f"the registry has no bundle {bundle_id[:120]!r}; GET /bundles lists them")

    async def _in_turn(
        self, a: str, b: str, k: int, user_id: str | None, hidden: Callable[[], list[str]]
    ) -> Comparison:
        async with self._one_at_a_time:
            try:
                bundles = await self._opened(a, keep=b), await self._opened(b, keep=a)
                profiles = [await self._profile(bundle, user_id) for bundle in bundles]
                return await asyncio.to_thread(_compared, bundles, k, user_id, profiles, hidden)
            except FAULTS as error:
                raise UnreadableBundleError(f"{a} and {b} cannot be compared: {_reason(error)}") from error
            finally:
                self._close_later()

    async def _opened(self, bundle_id: str, *, keep: str) -> Bundle:
        """The bundle that serves as it is, else one that is open from before, else another one opened in a thread."""
        if self._swapper.bundle_id == bundle_id:
            return self._swapper.opened.bundle
        found = self._open.pop(bundle_id, None)
        if found is None:
            for other in [other for other in self._open if other != keep][: len(self._open) - MOST_OPEN + 1]:
                self._close_one(other)
            found = await self._open_new(bundle_id)
        self._open[bundle_id] = found
        return found[0]

    async def _open_new(self, bundle_id: str) -> tuple[Bundle, ExitStack]:
        registry, verify = self._swapper.registry, self._settings.verify_bundle != "off"
        serving, using = self._swapper.opened.bundle, ExitStack()
        try:
            using.enter_context(registry.in_use(bundle_id))
            opened = await asyncio.to_thread(
                open_verified, registry, bundle_id, self._settings, verify=verify, shared_with=[serving]
            )
        except BaseException as error:
            using.close()
            if isinstance(error, FAULTS):
                raise UnreadableBundleError(f"{bundle_id} cannot be opened: {_reason(error)}") from error
            raise
        return opened.bundle, using

    async def _profile(self, bundle: Bundle, user_id: str | None) -> Profile | None:
        if user_id is None:
            return None
        try:
            return await self._lookup_for(bundle).find_for_replay(user_id)
        except UnknownUserError:  # one bundle may know the user, and the other one not
            return None

    def _close_later(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        self._closing = asyncio.get_running_loop().call_later(OPEN_S, self._close_all)

    def _close_all(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        for bundle_id in list(self._open):
            self._close_one(bundle_id)

    def _close_one(self, bundle_id: str) -> None:
        bundle, using = self._open.pop(bundle_id)
        using.close()
        # The last reference may unmap gigabytes, for which the event loop must not wait.
        asyncio.get_running_loop().run_in_executor(None, [bundle].clear)
        del bundle


def _compared(
    bundles: tuple[Bundle, Bundle],
    k: int,
    user_id: str | None,
    profiles: list[Profile | None],
    hidden: Callable[[], list[str]],
) -> Comparison:
    a, b = bundles
    lists = None
    if user_id is not None:
        ids = hidden()
        lists = _user_list(a, profiles[0], ids), _user_list(b, profiles[1], ids)
    return Comparison(bundles, compare_lists(a, b, k=k, sample=SAMPLE, pause=lambda: time.sleep(PAUSE_S)), lists)


def _user_list(bundle: Bundle, profile: Profile | None, hidden: list[str]) -> UserList:
    hidden_rows = bundle.item_ids.rows(hidden)
    excluded = np.concatenate([excluded_rows(profile, exclude_seen=True), hidden_rows[hidden_rows >= 0]])
    if profile is None or not profile.known:
        trend, count = bundle.popularity_trend, bundle.popularity_count
        popularity = trend if trend.any() else count
        rows = np.argsort(-popularity, kind="stable")
        rows = rows[~np.isin(rows, excluded)][:PLACES]
        return UserList("popular", rows, popularity[rows], NO_ROWS)
    (rows,), (scores,) = bundle.index().search(profile.vector, PLACES, excluded)
    return UserList(profile.source, rows[rows >= 0], scores[rows >= 0], profile.past)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
