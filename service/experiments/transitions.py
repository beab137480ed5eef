"""What changes an experiment: from one state of the registry's document to the next, or an error and no change."""

from datetime import datetime

from index.experiments import Arm, Change, Experiment, Experiments, GivenExperiment, same_split
from index.records import PointerMove
from service.experiments.errors import ExperimentConflictError, UnknownArmError, UnknownExperimentError

MOST_HISTORY = 50  # bundles of an arm


def declared(experiments: Experiments, name: str, given: GivenExperiment, move: PointerMove) -> Experiments:
    """Start an experiment, or change the running one; other arms or weights begin a new phase.

    ExperimentConflictError where another one runs, one of this name has ended, or the salt differs.
    """
    running = experiments.running
    if running is None:
        if experiments.find(name) is not None:
            raise ExperimentConflictError(f"experiment {name} has ended; expected a new name")
        return experiments.model_copy(update={"running": _started(name, given, move)})
    if running.name != name:
        raise ExperimentConflictError(f"experiment {running.name} runs; end it first, as one runs at a time")
    if given.salt not in ("", running.salt):
        raise ExperimentConflictError(
            f"salt: found {given.salt!r}, expected {running.salt!r}: another salt would move users between the arms"
        )
    return experiments.model_copy(update={"running": _changed(running, given, move.at)})


def _started(name: str, given: GivenExperiment, move: PointerMove) -> Experiment:
    return Experiment(
        name=name,
        salt=given.salt or name,
        metric=given.metric,
        expected_lift=given.expected_lift,
        arms=tuple(Arm(**arm.model_dump()) for arm in given.arms),
        shadow=given.shadow,
        guardrails=given.guardrails,
        started=move,
        phase_at=move.at,
    )


def _changed(running: Experiment, given: GivenExperiment, at: datetime) -> Experiment:
    """The same object where nothing differs. An arm that has ended stays so until it gets another bundle."""
    arms = tuple(_arm(running.arm(arm.name) or Arm(**arm.model_dump()), arm.weight, arm.bundle) for arm in given.arms)
    changes = {
        "metric": given.metric,
        "expected_lift": given.expected_lift,
        "shadow": given.shadow,
        "guardrails": given.guardrails,
        "arms": arms,
    }
    changed = running.model_copy(update=changes)
    if changed == running:
        return running
    resumed = any(arm.ended is None and (running.arm(arm.name) or arm).ended is not None for arm in arms)
    if same_split(running.arms, arms) and not resumed:
        return changed
    return changed.in_next_phase(running, at)


def _arm(before: Arm, weight: float, bundle: str | None) -> Arm:
    if bundle == before.bundle:
        return before.model_copy(update={"weight": weight})
    history = before.history if before.bundle is None else (*before.history, before.bundle)[-MOST_HISTORY:]
    return before.model_copy(update={"weight": weight, "bundle": bundle, "history": history, "ended": None})


def taken_up(experiments: Experiments, digest: str, change: Change) -> Experiments:
    """Apply what the file with this digest declares, unless it is the one that was taken up last."""
    if experiments.applied[-1:] == (digest,):
        return experiments
    return change(experiments).with_applied(digest)


def with_bundle(experiments: Experiments, name: str, arm: str, bundle: str, at: datetime) -> Experiments:
    """Give an arm of the running experiment another bundle; one that had ended goes on, in a new phase.

    UnknownExperimentError, UnknownArmError; ExperimentConflictError for the control, whose bundle is the published one.
    """
    running, found = _running_arm(experiments, name, arm)
    if arm == running.control.name:
        raise ExperimentConflictError(f"arm {arm} is the control, which serves the published bundle; publish that")
    changed = running.with_arm(_arm(found, found.weight, bundle).model_copy(update={"ended": None}))
    if found.ended is not None:
        changed = changed.in_next_phase(running, at)
    return experiments.model_copy(update={"running": changed})


def rolled_back(
    experiments: Experiments, name: str, arm: str, move: PointerMove, *, leaving: str | None = None
) -> Experiments:
    """Give an arm its bundle before, or end it where it had none; with `leaving` only while it has that bundle.

    Errors as those of `with_bundle`.
    """
    running, found = _running_arm(experiments, name, arm)
    if arm == running.control.name:
        raise ExperimentConflictError(f"arm {arm} is the control, which serves the published bundle; roll that back")
    if found.ended is not None or leaving not in (None, found.bundle):
        return experiments
    if found.history:
        back = found.model_copy(update={"bundle": found.history[-1], "history": found.history[:-1]})
        return experiments.model_copy(update={"running": running.with_arm(back)})
    return with_arm_ended(experiments, name, arm, move)


def with_arm_ended(experiments: Experiments, name: str, arm: str, move: PointerMove) -> Experiments:
    """End an arm of the running experiment: its users get the control. Errors as those of `with_bundle`."""
    running, found = _running_arm(experiments, name, arm)
    if arm == running.control.name:
        raise ExperimentConflictError(f"arm {arm} is the control; end the experiment instead")
    if found.ended is not None:
        return experiments
    return experiments.model_copy(update={"running": running.with_arm(found.model_copy(update={"ended": move}))})


def taken_out(
    experiments: Experiments, name: str, arm: str, bundle: str, move: PointerMove, *, back: bool
) -> Experiments:
    """End an arm while it has that bundle; with `back`, give it its bundle before, where it had one.

    Nothing changes where the experiment or the arm has ended, or the arm has another bundle.
    """
    running = experiments.running
    found = None if running is None or running.name != name else running.arm(arm)
    if found is None or found.ended is not None or found.bundle != bundle:
        return experiments
    return (rolled_back if back else with_arm_ended)(experiments, name, arm, move)


def with_end(experiments: Experiments, name: str, move: PointerMove, winner: str | None = None) -> Experiments:
    """End the running experiment: every user gets the published bundle. UnknownExperimentError where it does not run.

    One that ended before stays as it was.
    """
    running = experiments.running
    if running is None or running.name != name:
        if experiments.find(name) is not None:
            return experiments
        raise UnknownExperimentError(f"no experiment {name[:80]!r}; GET /experiments lists them")
    return experiments.with_ended(running.model_copy(update={"ended": move, "winner": winner}))


def _running_arm(experiments: Experiments, name: str, arm: str) -> tuple[Experiment, Arm]:
    running = experiments.running
    if running is None or running.name != name:
        if experiments.find(name) is not None:
            raise ExperimentConflictError(f"experiment {name} has ended")
        raise UnknownExperimentError(f"no experiment {name[:80]!r}; GET /experiments lists them")
    found = running.arm(arm)
    if found is None:
        names = ", ".join(one.name for one in running.arms)
        raise UnknownArmError(f"experiment {name} has no arm {arm[:80]!r}; expected one of {names}")
    return running, found
