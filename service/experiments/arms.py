"""The arms that serve in this process: which bundle answers a user's request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from index.experiments import Arm, Experiment
from index.records import PointerMove
from service.bundles.current import CurrentBundle
from service.bundles.loaded import LoadedBundle
from service.experiments.assignment import Assignment
from service.experiments.errors import ArmUnavailableError, UnknownArmError


class ChosenArm(NamedTuple):
    """The arm of one request, chosen once before it is answered."""

    experiment: str
    arm: str
    label: str | None  # under which what is shown is counted; None: it is not
    loaded: LoadedBundle
    diverted: bool = False  # the user's own arm cannot serve, so the control does

    @property
    def fields(self) -> dict[str, str]:
        """What answers, traces and logs say of it."""
        return {"experiment": self.experiment, "arm": self.arm}

    @property
    def why(self) -> Literal["own", "diverted", "forced"]:
        """Why this arm answers."""
        return "diverted" if self.diverted else "forced" if self.label is None else "own"


@dataclass(frozen=True, eq=False)
class ServedArm:
    """An arm in this process."""

    arm: Arm
    label: str
    slot: CurrentBundle | None  # None: it has ended, or its bundle cannot serve
    problem: str = ""  # why its bundle, or its newest one, does not serve

    @property
    def not_serving(self) -> str:
        """Why its users get the control; empty where they do not."""
        if self.slot is not None:
            return ""
        return self.problem if self.arm.ended is None else why_ended(self.arm.ended)


def why_ended(move: PointerMove) -> str:
    """Why an arm or an experiment ended, for people."""
    return f"ended by {move.by}" + (f": {move.why}" if move.why else "")


class Arms:
    """The running experiment. Requests read it; `take_up` replaces it between two requests."""

    def __init__(self, current: CurrentBundle) -> None:
        self.experiment: Experiment | None = None
        self.current = current
        self.shadow: CurrentBundle | None = None  # of the bundle that answers too and is not shown
        self._served: dict[str, ServedArm] = {}
        self._assignment = Assignment("", ())

    @property
    def served(self) -> Mapping[str, ServedArm]:
        """The arms of the running experiment by name, the control first; empty where none runs."""
        return self._served

    def take_up(
        self,
        experiment: Experiment | None,
        slots: Mapping[str, CurrentBundle],
        problems: Mapping[str, str],
        shadow: CurrentBundle | None = None,
    ) -> None:
        """Answer by this experiment from the next request on.

        slots: by name of the arm, of those that serve. The control, and other arms of the published bundle, need none.
        problems: by name of the arm.
        """
        arms = () if experiment is None else experiment.arms
        served: dict[str, ServedArm] = {}
        for arm in arms:
            assert experiment is not None
            slot = None if arm.ended else self.current if arm.bundle is None else slots.get(arm.name)
            served[arm.name] = ServedArm(arm, experiment.label(arm.name), slot, problems.get(arm.name, ""))
        self._assignment = Assignment("" if experiment is None else experiment.salt, arms)
        self.experiment, self._served, self.shadow = experiment, served, shadow

    def choose(self, user_id: str | None, forced: str | None) -> ChosenArm | None:
        """The arm of a request: the `forced` one, else the user's; None where no experiment runs, or for no user.

        UnknownArmError and ArmUnavailableError for a forced arm that cannot answer.
        """
        if forced:
            return self._forced(forced)
        if self.experiment is None or not user_id:
            return None
        own = self._served[self._assignment.arm_of(user_id)]
        if own.slot is not None:
            return ChosenArm(self.experiment.name, own.arm.name, own.label, own.slot.loaded)
        control = self.experiment.control.name
        return ChosenArm(self.experiment.name, control, None, self.current.loaded, diverted=True)

    def _forced(self, name: str) -> ChosenArm:
        if self.experiment is None:
            raise UnknownArmError("force_arm: no experiment runs")
        served = self._served.get(name)
        if served is None:
            raise UnknownArmError(
                f"force_arm: {self.experiment.name} has no arm {name[:80]!r}; expected one of {', '.join(self._served)}"
            )
        if served.slot is None:
            raise ArmUnavailableError(f"force_arm: {name} does not serve: {served.problem or 'it has ended'}")
        return ChosenArm(self.experiment.name, name, None, served.slot.loaded)

    def label_of(self, user_id: str) -> str | None:
        """The label of the arm that a user's events count for; None where no experiment runs, or the arm has ended."""
        if self.experiment is None:
            return None
        own = self._served[self._assignment.arm_of(user_id)]
        return None if own.arm.ended else own.label
