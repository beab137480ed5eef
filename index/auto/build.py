"""Makes a bundle's index: by a FAISS factory string, or the one that index/auto/choice.py chooses by measurement."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from index.auto.choice import AUTO, Attempt, AutoLimits, Candidate, Predicted, choose, sample_kinds
from index.auto.measure import LEAST_USERS, Bench, tuning_users
from index.errors import InputError
from index.flat import FLAT
from index.item_index import ItemIndex
from index.kinds import KindOfIndex, kinds_for
from index.manifest import IndexInfo, TriedIndex
from index.ranking import Array
from index.recall import Seen, measured_recall, measured_users
from index.tables import Table

SAMPLE = 50_000  # items; of up to twice as many, kinds are built over all of them at once
SEED = 0
BELOW_FOR_OTHERS = "recall below the floor for users that it was not tuned with"
# How a kind's time grows with n items, as exponents: of a search, of a build. Else in proportion.
_GROWTH = {"IVF": (0.5, 1.2), "HNSW": (0.2, 1.2)}

KindsFor: TypeAlias = Callable[[int, int], Sequence[KindOfIndex]]  # of so many items, of so many dimensions
Tell: TypeAlias = Callable[[str, int, int], None]  # what is built, how many kinds or vectors are done, of how many


@dataclass(frozen=True, eq=False)
class IndexData:
    """Items (n, d) to index, and the users (n_users, d) whose searches measure the index."""

    vectors: Array
    users: Table
    seen: Seen

    def bench(self, users: Array) -> Bench:
        """The searches of these user rows (m,)."""
        return Bench.of(self.vectors, self.users[users], [self.seen(user) for user in users.tolist()])


def make_index(
    data: IndexData,
    factory: str,
    limits: AutoLimits | None = None,
    tell: Tell | None = None,
    settings: Mapping[str, int] | None = None,
) -> tuple[ItemIndex, IndexInfo]:
    """An index and its record in the manifest, by `auto` within the limits, or by FAISS factory string and settings.

    InputError where the factory does not fit, or settings are given to `auto`.
    """
    if factory == AUTO:
        if settings:
            found = ", ".join(f"{name} {value}" for name, value in settings.items())
            raise InputError(f"{found} given to {AUTO}, which tunes its settings; expected a factory with them")
        return choose_index(data, limits, tell)
    show, n = partial(tell or _silent, factory), len(data.vectors)
    show(0, n)
    index = ItemIndex.build(data.vectors, factory, progress=lambda added: show(added, n))
    index = index.with_settings(settings or {})
    return index, _record(data, index, factory)


def index_record(info: IndexInfo) -> dict[str, Any]:
    """The record as it stands in a manifest."""
    return info.model_dump(mode="json", exclude_unset=True)


def choose_index(
    data: IndexData,
    limits: AutoLimits | None = None,
    tell: Tell | None = None,
    *,
    kinds: KindsFor = kinds_for,
    n_sample: int = SAMPLE,
    seed: int = SEED,
) -> tuple[ItemIndex, IndexInfo]:
    """The fastest index within the limits, and its record with what was tried.

    The choice depends on measured times and may differ between two runs; the recall that is measured does not.
    """
    limits, (n, d) = limits or AutoLimits(), data.vectors.shape
    if n < (smallest := limits.smallest(d)):
        return _exact(data, limits, f"exact: {n:,} items of {d} dimensions; others are tried from {smallest:,} on")
    users = tuning_users(data.users, n, seed)
    if len(users) < LEAST_USERS:
        return _exact(data, limits, f"exact: {len(users)} users to tune with; expected {LEAST_USERS} or more")
    return _Chooser(data, users, limits, tell or _silent, kinds, n_sample, seed).choose()


def _silent(what: str, before: int, most: int) -> None:
    pass


def predict(tried: TriedIndex, n: int) -> Predicted:
    """What a kind that was tried on a sample would take over n items."""
    search, build = _growth(tried.factory)
    times = n / tried.items
    return Predicted(tried.ms * times**search, tried.build_s * times**build, tried.bytes_per_item * n)


def _growth(factory: str) -> tuple[float, float]:
    return next((growth for kind, growth in _GROWTH.items() if kind in factory), (1.0, 1.0))


def _record(data: IndexData, index: ItemIndex, factory: str) -> IndexInfo:
    recall = measured_recall(index, data.vectors, data.users, data.seen)
    return IndexInfo(factory=factory, settings=index.settings, recall=recall)


def _exact(data: IndexData, limits: AutoLimits, why: str) -> tuple[ItemIndex, IndexInfo]:
    index = ItemIndex.build(data.vectors, FLAT)
    return index, _record(data, index, FLAT).model_copy(update={"promised": limits.recall_floor, "why": why})


@dataclass(eq=False)
class _Chooser:
    """One choice; its time runs from here on."""

    data: IndexData
    users: Array  # to tune with
    limits: AutoLimits
    tell: Tell
    kinds_for: KindsFor
    n_sample: int
    seed: int
    started: float = field(default_factory=time.perf_counter)
    attempts: int = 0
    expected: int = 0

    @cached_property
    def bench(self) -> Bench:
        """The searches by which settings are tuned."""
        return self.data.bench(self.users)

    @cached_property
    def others(self) -> Bench:
        """The searches by which the index's recall will be measured."""
        return self.data.bench(measured_users(len(self.data.users), len(self.data.vectors)))

    def choose(self) -> tuple[ItemIndex, IndexInfo]:
        kinds = self._kinds(len(self.data.vectors))
        self.expected = len(kinds)
        exact = self.bench.attempt(KindOfIndex(FLAT), self.limits.recall_floor, np.inf)
        candidates = self._candidates(kinds, exact.tried.ms)
        choice = choose(exact, candidates, lambda kind, ms: self._on_all(kinds[kind], ms), self.limits, self._spent)
        info = _record(self.data, choice.index, choice.kept.factory)
        chosen = {"promised": self.limits.recall_floor, "tried": choice.tried, "why": choice.why}
        return choice.index, info.model_copy(update=chosen)

    def _kinds(self, n: int) -> dict[str, KindOfIndex]:
        """The kinds for n items, by their factory without the number of lists."""
        kinds = self.kinds_for(n, self.data.vectors.shape[1])
        return {re.sub(r"IVF\d+", "IVF", kind.factory): kind for kind in kinds if kind.factory != FLAT}

    def _candidates(self, kinds: dict[str, KindOfIndex], exact_ms: float) -> list[Candidate]:
        """All kinds; those that a sample of a large catalogue speaks against, with why."""
        n = len(self.data.vectors)
        if n <= 2 * self.n_sample:
            return [Candidate(kind) for kind in kinds]
        sample = self.bench.sample(self.n_sample, self.seed)
        alike = self._kinds(self.n_sample)
        self.expected += len(kinds)

        def attempt(kind: str, most_ms: float) -> Candidate:
            self._next(f"{alike[kind].factory}, on a sample")
            most_ms /= (n / self.n_sample) ** _growth(kind)[0]
            tried = sample.attempt(alike[kind], self.limits.recall_floor, most_ms).tried
            return Candidate(kind, tried, predict(tried, n))

        return sample_kinds(list(kinds), attempt, exact_ms, self.limits, self._spent)

    def _on_all(self, kind: KindOfIndex, most_ms: float) -> Attempt[ItemIndex]:
        self._next(kind.factory)
        found = self.bench.attempt(kind, self.limits.recall_floor, most_ms)
        if not found.tried.outcome and self.others.recall(found.index) < self.limits.recall_floor:
            return Attempt(found.tried.model_copy(update={"outcome": BELOW_FOR_OTHERS}), found.index)
        return found

    def _next(self, what: str) -> None:
        self.tell(what, self.attempts, self.expected)
        self.attempts += 1

    def _spent(self) -> float:
        return time.perf_counter() - self.started
