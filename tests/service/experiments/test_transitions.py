"""Every change of an experiment leads to the state that it should, or is refused with what was found."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from index.experiments import MOST_ENDED, NO_EXPERIMENTS, Experiment, Experiments, GivenExperiment
from index.records import PointerMove
from service.experiments.errors import ExperimentConflictError, UnknownArmError, UnknownExperimentError
from service.experiments.transitions import declared, rolled_back, with_arm_ended, with_bundle, with_end

START = datetime(2026, 11, 30, tzinfo=UTC)
LATER = START + timedelta(hours=1)
ONE, TWO = "20260101T120000Z-model-00000001", "20260101T120000Z-model-00000002"


def move(at: datetime = START, why: str = "") -> PointerMove:
    return PointerMove(at=at, by="test", why=why)


def given(bundle: str | None = ONE, share: float = 10, **more: Any) -> GivenExperiment:
    arms = [{"name": "control", "weight": 100 - share}, {"name": "candidate", "weight": share, "bundle": bundle}]
    return GivenExperiment.model_validate({"arms": arms, **more})


def started(**changes: Any) -> Experiments:
    return declared(NO_EXPERIMENTS, "trial", given(**changes), move())


def running(experiments: Experiments) -> Experiment:
    assert experiments.running is not None
    return experiments.running


def candidate(experiments: Experiments) -> tuple[str | None, tuple[str, ...], bool]:
    arm = running(experiments).arm("candidate")
    assert arm is not None
    return arm.bundle, arm.history, arm.ended is not None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"arms": [{"name": "a", "weight": 50}, {"name": "a", "weight": 50}]}, "a appears twice"),
        ({"arms": [{"name": "a", "weight": 50}, {"name": "b", "weight": 40}]}, "sum to 90, expected 100"),
        ({"arms": [{"name": "a", "weight": 100, "bundle": ONE}]}, f"found bundle '{ONE}', expected none"),
        ({"arms": [{"name": "a", "weight": 100, "bundle": "../etc"}]}, "should match pattern"),
    ],
)
def test_arms_that_contradict_each_other_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GivenExperiment.model_validate(wrong)


def test_the_same_declaration_again_changes_nothing() -> None:
    once = started()
    assert declared(once, "trial", given(), move(LATER)) is not None
    assert declared(once, "trial", given(), move(LATER)) == once


def test_other_weights_begin_a_new_phase_and_another_bundle_does_not() -> None:
    once = started()
    wider = running(declared(once, "trial", given(share=20), move(LATER)))
    assert (wider.phase, wider.phase_at, wider.started.at) == (2, LATER, START)
    other = declared(once, "trial", given(TWO), move(LATER))
    assert (running(other).phase, candidate(other)) == (1, (TWO, (ONE,), False))


def test_a_changed_salt_is_refused_with_both() -> None:
    with pytest.raises(ExperimentConflictError, match="found 'other', expected 'trial'"):
        declared(started(), "trial", given(salt="other"), move())


def test_a_second_experiment_and_the_name_of_an_ended_one_are_refused() -> None:
    with pytest.raises(ExperimentConflictError, match="experiment trial runs"):
        declared(started(), "second", given(), move())
    ended = with_end(started(), "trial", move(LATER))
    with pytest.raises(ExperimentConflictError, match="trial has ended"):
        declared(ended, "trial", given(), move())
    assert running(declared(ended, "second", given(), move())).name == "second"


def test_an_arm_goes_back_through_its_bundles_and_then_ends() -> None:
    changed = with_bundle(started(), "trial", "candidate", TWO, LATER)
    assert candidate(changed) == (TWO, (ONE,), False)
    assert rolled_back(changed, "trial", "candidate", move(), leaving=ONE) == changed  # it has left that one
    back = rolled_back(changed, "trial", "candidate", move(), leaving=TWO)
    assert candidate(back) == (ONE, (), False)
    assert candidate(rolled_back(back, "trial", "candidate", move()))[2]


def test_an_arm_that_ended_goes_on_in_a_new_phase_only_with_another_bundle() -> None:
    ended = with_arm_ended(started(), "trial", "candidate", move(LATER, "slow"))
    assert with_arm_ended(ended, "trial", "candidate", move(LATER, "again")) == ended
    assert candidate(declared(ended, "trial", given(), move()))[2]
    again = with_bundle(ended, "trial", "candidate", TWO, LATER)
    assert (running(again).phase, candidate(again)) == (2, (TWO, (ONE,), False))


@pytest.mark.parametrize("change", [rolled_back, with_arm_ended])
def test_the_control_has_no_bundle_of_its_own_to_change(change: Any) -> None:
    with pytest.raises(ExperimentConflictError, match="control"):
        change(started(), "trial", "control", move())
    with pytest.raises(ExperimentConflictError, match="serves the published bundle; publish that"):
        with_bundle(started(), "trial", "control", TWO, LATER)


def test_unknown_names_are_told_with_the_known_ones() -> None:
    with pytest.raises(UnknownExperimentError, match="no experiment 'other'"):
        with_end(started(), "other", move())
    with pytest.raises(UnknownArmError, match="expected one of control, candidate"):
        with_arm_ended(started(), "trial", "other", move())


def test_ended_experiments_are_kept_up_to_a_limit_and_end_once() -> None:
    experiments = NO_EXPERIMENTS
    for i in range(MOST_ENDED + 1):
        experiments = with_end(
            declared(experiments, f"trial-{i}", given(), move()), f"trial-{i}", move(LATER), "control"
        )
    assert (len(experiments.ended), experiments.find("trial-0")) == (MOST_ENDED, None)
    assert with_end(experiments, "trial-9", move(), "candidate") == experiments
