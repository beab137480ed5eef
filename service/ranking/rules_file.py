"""The operator's standing rules: a file that holds for every recommendation, read again when it changes.

A file that is wrong at the start stops the start; one that goes wrong later is logged, and the rules before stay.
"""

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from pydantic import ValidationError

from index.bundle import Bundle
from index.errors import InputError
from service.errors import InvalidRequestError, sentence
from service.ranking.constraints import NO_CONSTRAINTS, Constraints, rule_constraints
from service.ranking.facets import FacetStore
from service.ranking.rules import NO_RULES, Rules
from service.settings import Settings
from service.telemetry.metrics import Metrics

READERS: dict[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads}

Current = Callable[[], tuple[Bundle, FacetStore]]  # what serves now

log = structlog.get_logger()


def read_rules(path: Path) -> Rules:
    """The rules of a .json or .toml file. InputError says what is wrong in it."""
    reader = READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path}: expected a file that ends in {' or '.join(READERS)}")
    try:
        return Rules.model_validate(reader(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InputError(f"{path}: {sentence(error.errors(include_url=False))}") from None
    except (OSError, ValueError) as error:  # unreadable, or neither JSON nor TOML
        raise InputError(f"{path}: {error}") from error


def check_rules(settings: Settings, bundle: Bundle) -> None:
    """InputError where the file of rules is wrong, or not for this bundle: before anything else is opened."""
    rules = RulesFile(settings.rules_file, Metrics(), on_change=lambda: None)
    asyncio.run(rules.constraints(bundle, FacetStore(bundle)))


class RulesFile:
    """The rules in force, as terms of whatever bundle serves."""

    def __init__(self, path: Path | None, metrics: Metrics, *, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._reloads = metrics.rules_reloads
        self._stamp = None if path is None else _stamp(path)  # before it is read: what changes meanwhile is seen
        self._take(NO_RULES if path is None else read_rules(path))
        self._terms: WeakKeyDictionary[FacetStore, tuple[Rules, Constraints]] = (
            WeakKeyDictionary()
        )  # while a bundle serves

    def _take(self, rules: Rules) -> None:
        self._rules = rules
        self.none = not any(rules.entries().values())  # asked for by every call

    async def constraints(self, bundle: Bundle, facet_store: FacetStore) -> Constraints:
        """The rules in rows of the bundle. InputError where they name an attribute that none of its items has."""
        if self.none:
            return NO_CONSTRAINTS
        rules, known = self._rules, self._terms.get(facet_store)
        if known is not None and known[0] is rules:
            return known[1]
        return await self._resolved(rules, bundle, facet_store)

    async def _resolved(self, rules: Rules, bundle: Bundle, facet_store: FacetStore) -> Constraints:
        try:
            constraints = await rule_constraints(rules, bundle.item_ids, facet_store)
        except InvalidRequestError as error:
            raise InputError(f"{self._path}, bundle {bundle.bundle_id}: {error.detail}") from None
        self._terms[facet_store] = (rules, constraints)
        return constraints

    async def refresh(self, current: Current) -> None:
        """Take the file as it is now, if it changed and is right."""
        if self._path is None:
            return
        stamp = await asyncio.to_thread(_stamp, self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            rules = await asyncio.to_thread(read_rules, self._path)
            await self._resolved(rules, *current())
        except InputError as error:
            self._reloads.labels("refused").inc()
            log.error("rules file refused, the rules before stay", error=str(error))
            return
        self._take(rules)
        self._on_change()
        self._reloads.labels("done").inc()
        log.info("rules file read", **rules.entries())


@asynccontextmanager
async def reload_rules(rules: RulesFile, current: Current, settings: Settings) -> AsyncIterator[None]:
    """Reload the rules file when it changes, until the end."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(settings.rules_reload_s)
            await rules.refresh(current)

    if settings.rules_file is None:
        yield
        return
    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
