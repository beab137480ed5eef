"""Looks at simulated experiments every day, with the service's statistics and with a test that is made for one look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.traffic import Traffic
from index.experiments import Metric
from service.events.arm_totals import ArmTotals
from service.experiments.sample_ratio import WARN_BELOW, sample_ratio
from service.experiments.statistics import ALPHA, METRICS, Comparison, compare, estimate

ONE_LOOK_Z = 1.96  # of a normal distribution, 95 % lie within


@dataclass(frozen=True)
class Found:
    """What daily looks at one metric of one experiment found."""

    day: int | None  # of the first look whose interval excludes 0, from 1; None where there is none
    one_look: bool  # whether a z-test that is made for one look ever finds a difference
    wrong_sign: bool  # at `day`
    missed: bool  # whether the interval of any look excludes the true lift
    covered: bool | None  # whether the interval of the last look has the true lift; None without an interval
    half_width: float | None  # of that interval


@dataclass(frozen=True)
class Looks:
    """What daily looks at one experiment found: by metric, and whether the sample ratio ever was below the limits."""

    metrics: dict[Metric, Found]
    ratio_below_alpha: bool
    ratio_warned: bool
    one_look_ratio: bool  # by a z-test that is made for one look


def look_daily(traffic: Traffic, rng: np.random.Generator, *, expected_lift: float) -> Looks:
    """Simulate an experiment of two arms and look at it after every day."""
    days = [(control, treatment) for control, treatment in traffic.totals(rng)]
    ratios = [_ratio(*day, traffic.weights) for day in days]
    return Looks(
        {metric: _found(days, metric, traffic.lift, expected_lift) for metric in METRICS},
        any(p < ALPHA for p, _ in ratios),
        any(p < WARN_BELOW for p, _ in ratios),
        any(abs(z) > ONE_LOOK_Z for _, z in ratios),
    )


def warns_of_shares(users: int, days: int, share: float, rng: np.random.Generator) -> bool:
    """Whether daily looks ever warn that control gets `share` of the users and not the half it should."""
    control = rng.binomial(users // days, share, days).cumsum()
    both = users // days * np.arange(1, days + 1)
    counts = zip(control.tolist(), (both - control).tolist(), strict=True)
    return any(sample_ratio({"a": a, "b": b}, {"a": 50.0, "b": 50.0}).warning for a, b in counts)


def _ratio(control: ArmTotals, treatment: ArmTotals, weights: Sequence[float]) -> tuple[float, float]:
    # p-value of the sequential test, z of the other.
    users, share = control.users + treatment.users, weights[0]
    result = sample_ratio({"a": control.users, "b": treatment.users}, {"a": share, "b": weights[1]})
    return result.p_value, (control.users - users * share) / math.sqrt(max(users, 1) * share * (1 - share))


def _found(days: Sequence[tuple[ArmTotals, ArmTotals]], metric: Metric, lift: float, expected_lift: float) -> Found:
    looks = [compare("treatment", *day, metric, expected_lift=expected_lift) for day in days]
    last = looks[-1].interval
    day = next((number for number, look in enumerate(looks, 1) if look.verdict), None)
    return Found(
        day=day,
        one_look=any(_one_look(*day, metric) for day in days),
        wrong_sign=bool(lift) and day is not None and (looks[day - 1].verdict == "better") != (lift > 0),
        missed=any(_covers(look, lift) is False for look in looks),
        covered=_covers(looks[-1], lift),
        half_width=(last.high - last.low) / 2 if last else None,
    )


def _covers(look: Comparison, lift: float) -> bool | None:
    return look.interval.low <= lift <= look.interval.high if look.interval else None


def _one_look(control: ArmTotals, treatment: ArmTotals, metric: Metric) -> bool:
    a, b = estimate(control, metric), estimate(treatment, metric)
    if a is None or b is None:
        return False
    return abs(a.value - b.value) > ONE_LOOK_Z * math.sqrt(a.variance + b.variance)
