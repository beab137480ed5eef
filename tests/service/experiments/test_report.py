"""The report on an experiment, from the totals of its arms."""

from datetime import timedelta

import pytest
from servers import CREATED

from index.experiments import Arm, Experiment
from index.records import PointerMove
from service.events.arm_totals import ArmTotals
from service.experiments.errors import UnknownPhaseError
from service.experiments.report import NO_USERS, Report, labels, report_on

STARTED = PointerMove(at=CREATED, by="shop")
LATER = PointerMove(at=CREATED + timedelta(days=7), by="shop", why="slow")


def experiment(*weights: float, **changes: object) -> Experiment:
    arms = tuple(Arm(name=name, weight=weight) for name, weight in zip("abc", weights, strict=False))
    one = Experiment(
        name="one", salt="one", metric="click_through", expected_lift=0.1, arms=arms, started=STARTED, phase_at=CREATED
    )
    return one.model_copy(update=changes)


def clicking(users: int, share: float) -> ArmTotals:
    """Users who were each shown 10 items, of whom a share clicked one."""
    clicks = users * share
    return ArmTotals(users, 10 * users, clicks, 0, 0, 0, 100 * users, clicks, 10 * clicks, 0)


def reported(one: Experiment, phase: int = 1, **totals: ArmTotals) -> Report:
    return report_on(one, phase, {one.label(arm, phase): found for arm, found in totals.items()})


def test_the_deciding_metric_says_which_arm_is_better() -> None:
    found = reported(experiment(50, 50), a=clicking(10_000, 0.2), b=clicking(10_000, 0.3))
    assert found.decision.startswith("b is better: click_through +50.0%")
    assert found.warnings == []


def test_another_metric_decides_where_the_experiment_says_so() -> None:
    found = reported(experiment(50, 50, metric="conversion"), a=clicking(10_000, 0.2), b=clicking(10_000, 0.3))
    assert found.decision.startswith("b: too little data: conversion of a")


def test_no_decision_is_made_where_users_do_not_fall_into_the_arms_by_weight() -> None:
    found = reported(experiment(50, 50), a=clicking(10_000, 0.2), b=clicking(12_000, 0.3))
    assert found.decision == "none, as the users do not fall into the arms by weight"
    assert found.warnings[0].startswith("the arms do not have the shares")


def test_an_arm_that_ended_takes_no_part_in_the_check_of_shares() -> None:
    one = experiment(40, 40, 20)
    one = one.with_arm(one.arms[2].model_copy(update={"ended": LATER}))
    found = reported(one, a=clicking(10_000, 0.2), b=clicking(10_000, 0.2), c=clicking(100, 0.2))
    assert found.sample_ratio is not None
    assert found.sample_ratio.warning is None
    assert found.warnings == ["c ended by shop: slow; its users count until then"]


def test_one_arm_that_goes_on_has_no_shares_to_check() -> None:
    assert reported(experiment(100), a=clicking(100, 0.2)).sample_ratio is None


def test_an_experiment_without_users_says_where_they_come_from() -> None:
    assert NO_USERS in reported(experiment(50, 50)).warnings


def test_each_phase_is_reported_by_its_own_arms_and_counts() -> None:
    first = experiment(90, 10)
    second = experiment(50, 50).in_next_phase(first, LATER.at)
    assert labels(second, 1) == ["one/1/a", "one/1/b"]
    earlier = reported(second, 1, a=clicking(900, 0.2), b=clicking(100, 0.2))
    assert ([arm.weight for arm in earlier.phase.arms], earlier.until) == ([90, 10], LATER.at)
    assert earlier.totals["a"].users == 900
    assert reported(second, 2).totals["a"].users == 0


def test_a_phase_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownPhaseError, match="phase: found 3, expected 1 to 1 of experiment one"):
        labels(experiment(100), 3)
