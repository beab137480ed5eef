"""Makes the lists of many users from one bundle: those that GET /recommend answers, ranked by the same code."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from index.errors import InputError
from index.ids import IdTable
from index.item_index import ItemIndex
from index.recommending.profile import Profile, trained_profile
from service.batch.allowed_search import AllowedSearch
from service.bundles.loaded import LoadedBundle
from service.errors import UnknownUserError
from service.ranking.constraints import Constraints, Filters, filter_constraints
from service.ranking.diversity import BY_SCORE
from service.ranking.ranker import Ranker
from service.ranking.recommender import Ranking
from service.ranking.rules_file import RulesFile
from service.ranking.search import InlineSearch
from service.ranking.turns import Lane, Turn

Array = np.ndarray[Any, Any]

USERS_AT_ONCE = 512  # in one search
NO_FILTERS = Filters()


@dataclass(frozen=True)
class ListOptions:
    """What each user's list is."""

    k: int
    exclude_seen: bool = True
    filters: Filters = NO_FILTERS


class UserList(NamedTuple):
    """One user's list; the source is that of a response of /recommend."""

    user_id: str
    source: str
    rows: Array  # (<= k,) best first
    scores: Array  # (<= k,)


async def run_constraints(loaded: LoadedBundle, rules: RulesFile, filters: Filters, now: float) -> Constraints:
    """The constraints on every list of a run: filters, the rules file, and hidden items, all as rows to show or not.

    InputError where no item is left. now: in unix seconds, for filters.
    """
    chosen = await filter_constraints(filters, loaded.bundle.item_ids, loaded.facet_store, now=now)
    both = chosen.merged_with(await rules.constraints(loaded.bundle, loaded.facet_store))
    mask = both.allowed_mask(len(loaded.bundle.item_ids))
    mask[loaded.hidden] = False
    if not mask.any():
        why = f" ({'; '.join(chosen.warnings)})" if chosen.warnings else ""
        raise InputError(f"no item may be shown: the filters, rules and hidden items leave none of the bundle's{why}")
    allowed = None if mask.all() else np.flatnonzero(mask)
    return Constraints(allowed, boosts=both.boosts, pins=both.pins, warnings=chosen.warnings)


class ListMaker:
    """Makes lists under the constraints of one run."""

    def __init__(self, loaded: LoadedBundle, constraints: Constraints, options: ListOptions, *, pool: int) -> None:
        vectors, allowed = loaded.bundle.item_embeddings, constraints.within
        self._loaded = loaded
        self._constraints = constraints
        self._options = options
        self._turn = Turn(Lane(), clock=lambda: 0.0)  # no request waits for this process: it never pauses
        self._ranker = Ranker(
            loaded.recommender.scoring,
            loaded.recommender.by_popularity,
            InlineSearch(ItemIndex.flat(np.ascontiguousarray(vectors)))
            if allowed is None
            else AllowedSearch(vectors, allowed),
            loaded.similar_items,
            loaded.facet_store,
            pool=pool,
            at_once=USERS_AT_ONCE,
        )
        self._of_unknown: Ranking | None = None  # all unknown users have one list

    @property
    def item_ids(self) -> IdTable:
        """The ids of the rows in lists."""
        return self._loaded.bundle.item_ids

    async def make(self, user_ids: Sequence[str], with_events: Container[str]) -> list[UserList]:
        """The lists in the order of the users; `with_events` are those of them that the event log names."""
        profiles = await self._profiles(user_ids, with_events)
        unknown = self._loaded.users.unknown_profile
        rankings = iter(await self._rank([one for one in profiles if one is not unknown]))
        lists = []
        for user_id, profile in zip(user_ids, profiles, strict=True):
            ranking = await self._popular() if profile is unknown else next(rankings)
            lists.append(UserList(user_id, ranking.source, ranking.rows, ranking.scores))
        return lists

    async def _profiles(self, user_ids: Sequence[str], with_events: Container[str]) -> list[Profile]:
        bundle, users = self._loaded.bundle, self._loaded.users
        profiles = []
        for user_id, row in zip(user_ids, bundle.user_ids.rows(list(user_ids)).tolist(), strict=True):
            if user_id in with_events:
                profiles.append(await self._looked_up(user_id))
            else:
                known = row >= 0 and not users.is_forgotten(user_id)
                profiles.append(trained_profile(bundle, row) if known else users.unknown_profile)
        return profiles

    async def _looked_up(self, user_id: str) -> Profile:
        try:
            return await self._loaded.users.find_for_replay(user_id)
        except UnknownUserError:  # the setting of the service's own responses
            return self._loaded.users.unknown_profile

    async def _popular(self) -> Ranking:
        if self._of_unknown is None:
            (self._of_unknown,) = await self._rank([self._loaded.users.unknown_profile])
        return self._of_unknown

    async def _rank(self, profiles: Sequence[Profile]) -> list[Ranking]:
        return await self._ranker.rank(
            profiles,
            self._options.k,
            exclude_seen=self._options.exclude_seen,
            constraints=self._constraints,
            order=BY_SCORE,
            turn=self._turn,
        )
