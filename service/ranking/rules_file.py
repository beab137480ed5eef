"""Loads the operator's rules file, which applies to every recommendation, and reloads it when it changes.

An invalid file at start stops the start; one that becomes invalid later is logged, and the previous rules stay active.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import structlog

from index.bundle import Bundle
from index.errors import InputError
from service.background import supervised
from service.declared_file import read_declared, stamp_of
from service.errors import InvalidRequestError
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, rule_constraints
from service.ranking.facets import FacetStore
from service.ranking.rules import NO_RULES, Rules
from service.settings import RankingSettings
from service.telemetry.metrics import Metrics, RankingMetrics

CurrentFacets = Callable[[], Sequence[tuple[Bundle, FacetStore]]]  # the bundles that serve now and their facets

log = structlog.get_logger()


def read_rules(path: Path) -> Rules:
    """The rules of a .json or .toml file. InputError where it is invalid."""
    return read_declared(path, Rules, "docs/answers.md has the fields of rules")


def check_rules(settings: RankingSettings, bundle: Bundle) -> None:
    """Check the rules file before anything else is opened: InputError where it is invalid, also for this bundle."""
    rules = RulesFile(settings.rules_file, Metrics(), on_change=lambda: None)
    asyncio.run(rules.constraints(bundle, FacetStore(bundle)))


class RulesFile:
    """The active rules, and their constraints for each loaded bundle."""

    def __init__(self, path: Path | None, metrics: RankingMetrics, *, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._reloads = metrics.rules_reloads
        self._stamp = None if path is None else stamp_of(path)  # before reading, so that a concurrent change is noticed
        self._activate(NO_RULES if path is None else read_rules(path))
        self._resolved: WeakKeyDictionary[FacetStore, tuple[Rules, Constraints]] = WeakKeyDictionary()

    def _activate(self, rules: Rules) -> None:
        self._rules = rules
        self.empty = not any(rules.entry_counts().values())  # an attribute, since every request reads it

    async def constraints(self, bundle: Bundle, facet_store: FacetStore) -> Constraints:
        """The rules' constraints in rows of the bundle. InputError where none of its items has a named attribute."""
        if self.empty:
            return NO_CONSTRAINTS
        rules, resolved = self._rules, self._resolved.get(facet_store)
        if resolved is not None and resolved[0] is rules:
            return resolved[1]
        return await self._resolve(rules, bundle, facet_store)

    async def _resolve(self, rules: Rules, bundle: Bundle, facet_store: FacetStore) -> Constraints:
        try:
            constraints = await rule_constraints(rules, bundle.item_ids, facet_store)
        except InvalidRequestError as error:
            raise InputError(f"{self._path}, bundle {bundle.bundle_id}: {error.detail}") from None
        self._resolved[facet_store] = (rules, constraints)
        return constraints

    async def reload_if_changed(self, current: CurrentFacets) -> None:
        """Activate the file's rules if it changed and is valid."""
        if self._path is None:
            return
        stamp = await asyncio.to_thread(stamp_of, self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            rules = await asyncio.to_thread(read_rules, self._path)
            for bundle, facet_store in current():
                await self._resolve(rules, bundle, facet_store)
        except InputError as error:
            self._reloads.labels("refused").inc()
            log.error("rules file refused, the previous rules stay active", error=str(error))
            return
        self._activate(rules)
        self._on_change()
        self._reloads.labels("done").inc()
        log.info("rules file loaded", **rules.entry_counts())


@asynccontextmanager
async def reload_rules(
    rules: RulesFile, current: CurrentFacets, settings: RankingSettings, metrics: RankingMetrics
) -> AsyncIterator[None]:
    """Poll the rules file and reload it when it changes, until the context ends."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(settings.rules_reload_s)
            await rules.reload_if_changed(current)

    async with supervised(metrics, {} if settings.rules_file is None else {"rules_file": watch}):
        yield
