"""The gauge that says whether users fall into the arms by weight."""

import asyncio
from collections.abc import Sequence

from servers import CREATED

from index.experiments import Arm, Experiment
from index.records import PointerMove
from service.events.arm_totals import ArmTotals
from service.experiments.arms import Arms
from service.experiments.ratio_watch import RatioWatch
from service.telemetry.metrics import Metrics

TWINS = Experiment(
    name="twins",
    salt="twins",
    metric="click_through",
    expected_lift=0.1,
    arms=(Arm(name="a", weight=50), Arm(name="b", weight=50)),
    started=PointerMove(at=CREATED, by="shop"),
    phase_at=CREATED,
)


def gauged(experiment: Experiment | None, *users: int) -> dict[str, float]:
    """By experiment what a check shows, where the arms have so many users."""
    arms, metrics = Arms(None), Metrics()  # type: ignore[arg-type]  # the published bundle answers nothing here
    metrics.sample_ratio_p.labels("before").set(0)
    arms.take_up(experiment, {}, {})

    async def read_totals(labels: Sequence[str]) -> dict[str, ArmTotals]:
        return {label: ArmTotals(users=n) for label, n in zip(labels, users, strict=True)}

    asyncio.run(RatioWatch(arms, read_totals, metrics).check())
    return {
        one.labels["experiment"]: one.value for family in metrics.sample_ratio_p.collect() for one in family.samples
    }


def test_users_by_weight_are_shown_as_likely() -> None:
    assert gauged(TWINS, 1_000, 1_010) == {"twins": 1}


def test_users_that_do_not_fall_into_the_arms_by_weight_are_shown_as_unlikely() -> None:
    assert gauged(TWINS, 1_000, 1_500)["twins"] < 0.001


def test_without_an_experiment_nothing_is_shown() -> None:
    assert gauged(None) == {}
