"""A step in the neighbourhood of a point: a few settings move a little, the others stay."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, IntDistribution

from trainer.tune.space import Distribution, SearchSpace

MOVED = 2.0
"""Settings that a step moves on average, one at least."""
STEP = 0.15
"""Standard deviation of a move in a range, as a share of the range."""


def step_from(point: Mapping[str, Any], space: SearchSpace, rng: np.random.Generator) -> dict[str, Any]:
    """A point near this one: a listed value moves to its neighbour in the list, a number by STEP of its range."""
    names = list(space.distributions)
    moved = rng.random(len(names)) < (MOVED - 1) / len(names)
    moved[rng.integers(len(names))] = True
    return {
        name: _move(point[name], space.distributions[name], rng) if chosen else point[name]
        for name, chosen in zip(names, moved, strict=True)
    }


def _move(value: Any, distribution: Distribution, rng: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        place = choices.index(value)
        near = [i for i in (place - 1, place + 1) if 0 <= i < len(choices)]
        return choices[rng.choice(near)] if near else value
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    value = float(np.clip(value + rng.normal() * STEP * (high - low), low, high))
    value = math.exp(value) if distribution.log else value
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value
