"""The kinds of events that the service takes: those of the settings, or those that the operator's file declares."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.declared_file import read_declared
from service.events.event import AS_BOUGHT, AS_CLICKED, AS_SHOWN, DISLIKE, FORGOTTEN, IMPRESSION, Event, Kind
from service.events.quality import FIGURES
from service.settings import EventSettings, Weight

RESERVED = frozenset({IMPRESSION, FORGOTTEN, *FIGURES})  # names with a meaning of their own in the log and in /quality
ROLES = {"click": AS_CLICKED, "conversion": AS_BOUGHT}


class EventKind(BaseModel):
    """What an event of one kind does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Weight = 0.0  # in user profiles and in /trending; 0: it is in neither
    by: Literal["portion"] | None = None  # portion: the weight is scaled by the portion viewed
    counts_as: Literal["click", "conversion"] | None = None  # what it is in /quality
    dislikes: bool = False  # removes the item from the profile and hides it from this user
    trains: bool = False  # whether a retraining takes it as an interaction

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dislikes and (self.weight or self.trains):
            raise ValueError("a kind that dislikes has no weight and is no interaction")
        if self.by and not self.weight:
            raise ValueError("by needs a weight that it scales")
        return self


class _File(BaseModel):
    """The file: one table for each kind."""

    model_config = ConfigDict(extra="forbid")

    kinds: Annotated[dict[Kind, EventKind], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _no_reserved_names(self) -> Self:
        if found := sorted(RESERVED & self.kinds.keys()):
            raise ValueError(f"{', '.join(found)}: expected a name other than {', '.join(sorted(RESERVED))}")
        return self


@dataclass(frozen=True)
class EventKinds:
    """All kinds by name; impressions are known beside them. `always` enter profiles also with a weight of 0."""

    by_name: Mapping[str, EventKind]
    always: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> list[str]:
        """The names that a caller may send, ascending."""
        return sorted({*self.by_name, IMPRESSION})

    @cached_property
    def positive(self) -> frozenset[str]:
        """The kinds that add their item to the user's profile."""
        return self.always | self._named(lambda kind: kind.weight > 0)

    @cached_property
    def disliking(self) -> frozenset[str]:
        """The kinds that remove their item from the user's profile."""
        return self._named(lambda kind: kind.dislikes)

    @cached_property
    def in_profile(self) -> frozenset[str]:
        """The kinds that change a user's profile."""
        return self.positive | self.disliking

    @cached_property
    def trained(self) -> list[str]:
        """The kinds that a retraining takes as interactions, ascending."""
        return sorted(self._named(lambda kind: kind.trains))

    @cached_property
    def _roles(self) -> dict[str, str]:
        found = {name: ROLES[kind.counts_as] for name, kind in self.by_name.items() if kind.counts_as is not None}
        return found | {IMPRESSION: AS_SHOWN}

    def _named(self, has: Callable[[EventKind], bool]) -> frozenset[str]:
        return frozenset(name for name, kind in self.by_name.items() if has(kind))

    def role(self, name: str) -> str | None:
        """What an event of this kind is to the answer that led to it, for /quality."""
        return self._roles.get(name)

    def strength(self, event: Event) -> float:
        """The weight of an event whose kind is positive; without a portion it counts as viewed whole."""
        kind = self.by_name[event.kind]
        return kind.weight if kind.by is None or event.portion is None else kind.weight * event.portion


def _built_in(weights: Mapping[str, float]) -> EventKinds:
    declared: dict[str, dict[str, Any]] = {
        "view": {},
        "click": {"counts_as": "click", "trains": True},
        "like": {"trains": True},
        "purchase": {"counts_as": "conversion", "trains": True},
    }
    kinds = {name: EventKind(weight=weights.get(name, 1.0), **fields) for name, fields in declared.items()}
    return EventKinds(kinds | {DISLIKE: EventKind(dislikes=True)}, frozenset(declared))


BUILT_IN = _built_in({})


def event_kinds(settings: EventSettings) -> EventKinds:
    """The kinds of the file that the settings name, read once a process; without one today's, with their weights.

    InputError where the file is invalid.
    """
    if settings.event_kinds_file is not None:
        return _read_kinds(settings.event_kinds_file)
    return _built_in({name: getattr(settings, f"event_weight_{name}") for name in BUILT_IN.always})


def trainer_arguments(settings: EventSettings) -> Iterable[str]:
    """The arguments by which `trainer retrain` takes the kinds of the file; none without a file."""
    if settings.event_kinds_file is None:
        return ()
    kinds = event_kinds(settings)
    return "--positive", ",".join(kinds.trained), "--negative", ",".join(sorted(kinds.disliking))


@lru_cache(4)
def _read_kinds(path: Path) -> EventKinds:
    return EventKinds(read_declared(path, _File, "docs/feedback.md has the fields of a kind").kinds)
