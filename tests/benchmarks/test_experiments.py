"""The simulation of experiments has the true lifts it was given, and its command ends with one line of figures."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.experiments.__main__ import app
from benchmarks.experiments.traffic import Traffic
from service.experiments.statistics import METRICS, Metric, estimate


@pytest.mark.parametrize("metric", METRICS)
def test_a_true_lift_shows_in_the_totals(metric: Metric) -> None:
    control, treatment = Traffic(users=100_000, days=4, lift=1.0).totals(np.random.default_rng(1))[-1]
    a, b = estimate(control, metric), estimate(treatment, metric)
    assert a is not None
    assert b is not None
    assert b.value / a.value == pytest.approx(2.0, rel=0.15)


def test_each_day_has_the_users_of_the_days_before() -> None:
    users = [
        control.users + other.users for control, other in Traffic(users=500, days=5).totals(np.random.default_rng(2))
    ]
    assert users == sorted(users)
    assert users[-1] == 500


def test_the_command_ends_with_one_line_of_figures() -> None:
    options = ["--runs", "3", "--power-runs", "2", "--users", "300", "--days", "2"]
    result = CliRunner().invoke(app, options)
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["runs"] == 3
    assert set(figures["lifts"]) == {"0.02", "0.05", "0.1", "0.2"}
    assert set(figures["shares_warned_of"]) == {"0.495", "0.49", "0.48"}
    assert figures["false_alarms"]["revenue"]["found"] == 0.0
