"""The benchmark runs, measures what it says, and ends with a line for programs."""

import json

import pytest
from typer.testing import CliRunner

from trainer.__main__ import app
from trainer.step_benchmark import Shape, as_record, bench, cost_table

TINY = Shape(60, 40, 300, (("multimodal", 8), ("text", 4), ("image", 12)))


def test_parts_of_a_step_add_up_and_every_process_has_a_peak():
    costs = bench(["lightgcn", "anchorrec, paper", "lattice"], TINY, steps=2, threads=1)
    for cost in costs.values():
        assert cost.step == pytest.approx(cost.forward + cost.backward + cost.optimiser)
        assert 0 < cost.forward < cost.step
        assert 0.05 < cost.peak_gb < 8
    assert costs["lattice"].first > costs["lattice"].step  # builds its graph then
    assert json.loads(json.dumps(as_record(costs)))["lightgcn"]["step"] >= 0
    assert cost_table(costs, title="tiny").row_count == 3


def test_an_unknown_model_is_refused_with_the_known_ones():
    result = CliRunner().invoke(app, ["bench", "--model", "bert"])
    assert result.exit_code != 0
    assert "anchorrec, paper" in str(result.exception)
