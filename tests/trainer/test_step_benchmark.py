"""The benchmark runs, measures what it says, and ends with a line for programs."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from trainer import step_benchmark as benchmark
from trainer.__main__ import app
from trainer.step_benchmark import Shape, as_record, bench, cost_table, timed_step

TINY = Shape(60, 40, 300, (("multimodal", 8), ("text", 4), ("image", 12)))


class Clock:
    """Stands still until something advances it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Paced(nn.Module):
    """A model whose forward pass takes 3 seconds of the clock and whose backward pass takes 5."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.weight, self._clock = nn.Parameter(torch.ones(1)), clock

    def loss_terms(self, *_: Tensor) -> dict[str, Tensor]:
        self._clock.advance(3)
        loss = self.weight.sum()
        loss.register_hook(lambda _: self._clock.advance(5))
        return {"loss": loss}


def test_a_step_is_divided_where_forward_backward_and_update_end(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(benchmark, "perf_counter", clock)
    model = Paced(clock)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    optimiser.register_step_post_hook(lambda *_: clock.advance(7))
    assert timed_step(model, optimiser, (np.zeros(1), np.zeros(1), np.zeros(1))) == (3, 5, 7)


def test_every_part_of_a_step_is_there_they_add_up_and_every_process_has_a_peak():
    costs = bench(["lightgcn", "anchorrec, paper"], TINY, steps=2, threads=1)
    for cost in costs.values():
        assert cost.step == pytest.approx(cost.forward + cost.backward + cost.optimiser)
        assert all(np.isfinite(part) and part >= 0 for part in asdict(cost).values())
        assert 0.05 < cost.peak_gb < 8
    record = json.loads(json.dumps(as_record(costs)))
    assert record.keys() == costs.keys()
    assert all(parts.keys() == asdict(costs[name]).keys() for name, parts in record.items())
    assert cost_table(costs, title="tiny").row_count == 2


def test_the_first_step_of_an_epoch_contains_what_the_model_builds_then(monkeypatch):
    clock, begun = Clock(), []
    monkeypatch.setattr(benchmark, "perf_counter", clock)
    build = benchmark.build_model

    def built(*arguments, **named):
        model = build(*arguments, **named)
        begin = model.begin_epoch

        def begin_epoch():
            clock.advance(11)
            begun.append(clock.now)
            begin()

        model.begin_epoch = begin_epoch
        return model

    monkeypatch.setattr(benchmark, "build_model", built)
    cost = benchmark._measure(benchmark.MODELS["lattice"], TINY, 2, 1, "float32")
    assert (cost.first, cost.step) == (11, 0)
    assert len(begun) == 1


def test_an_unknown_model_is_refused_with_the_known_ones():
    result = CliRunner().invoke(app, ["bench", "--model", "bert"])
    assert result.exit_code != 0
    assert "anchorrec, paper" in str(result.exception)
