"""A search space: which settings vary and over what, read from TOML.

A list holds the values to choose from; `{ low, high }` is a range, of whole numbers where both ends are whole, with
`scale = "log"` searched by orders of magnitude. Settings are named as in a configuration file.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from index.errors import InputError
from index.validation import problem
from trainer.config import CONFIG_FOLDER, RunConfig, load_config, read_shipped

SPACE_FOLDER = CONFIG_FOLDER / "spaces"
"""The spaces that ship with the trainer; `--space anchorrec` names one of them."""

EXPECTED = 'expected a list of values, or a range such as { low = 0.001, high = 0.1, scale = "log" }'

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution

Values = Mapping[str, Any]
"""Dotted setting -> value. A value that is not a scalar is written as JSON, which is TOML too."""


class Range(BaseModel):
    """The numbers from `low` to `high`, both included."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: int | float
    high: int | float
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low must be below high and both finite, found {self.low} and {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low must be above 0 on a log scale, found {self.low}")
        return self

    def distribution(self) -> Distribution:
        """The range as an Optuna distribution."""
        log = self.scale == "log"
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=log)
        return FloatDistribution(self.low, self.high, log=log)


@dataclass(frozen=True)
class SearchSpace:
    """What each searched setting may be."""

    source: str
    distributions: dict[str, Distribution]

    def check(self, config: str, overrides: tuple[str, ...]) -> None:
        """Try values of every setting, the ends of ranges among them, in a configuration.

        Raises:
            InputError: no such setting (the nearest is named), a value out of range, or a setting that is also fixed.
        """
        for name, distribution in self.distributions.items():
            if name in {override.partition("=")[0].strip() for override in overrides}:
                raise InputError(f"{name} is both fixed by --set and searched by {self.source}")
            for value in _samples(distribution):
                try:
                    configured(config, overrides, {name: value})
                except InputError as error:
                    raise InputError(f"space {self.source}: {error}") from None

    def points(self) -> list[dict[str, Any]]:
        """Every combination of values, the last setting varying fastest.

        Raises:
            InputError: a setting has a range of reals instead of a list.
        """
        values = [self._listed(name, distribution) for name, distribution in self.distributions.items()]
        return [dict(zip(self.distributions, point, strict=True)) for point in product(*values)]

    def point_in(self, config: RunConfig, source: str) -> dict[str, Any]:
        """The searched settings as a configuration has them; `source` is its name in the error.

        Raises:
            InputError: it has no such setting, or a value that is not in the space.
        """
        values = _leaves(config.model_dump(mode="json"))
        point = {name: _scalar(values.get(name)) for name in self.distributions}
        for name, distribution in self.distributions.items():
            if not _contains(distribution, point[name]):
                raise InputError(
                    f"{source} cannot start the search: {name} is {point[name]} there, outside {self.source}"
                )
        return point

    def _listed(self, name: str, distribution: Distribution) -> list[Any]:
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        if isinstance(distribution, IntDistribution) and not distribution.log:
            return list(range(distribution.low, distribution.high + 1))
        raise InputError(f"a grid needs a list of values for {name}, found a range in {self.source}")


def configured(config: str, overrides: tuple[str, ...], values: Values) -> RunConfig:
    """The configuration under some values of a space."""
    return load_config(config, (*overrides, *(f"{name}={_text(value)}" for name, value in values.items())))


def read_space(name_or_path: str) -> SearchSpace:
    """Read a shipped space by name or any TOML file by path.

    Raises:
        InputError: no such file, not TOML, or something else than lists and ranges in it.
    """
    path, tree = read_shipped(SPACE_FOLDER, name_or_path, "space")
    distributions = {name: _distribution(name, found, str(path)) for name, found in _leaves(tree).items()}
    if not distributions:
        raise InputError(f"space {path} names no setting to search")
    return SearchSpace(str(path), distributions)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value; tables are groups of settings unless they look like a range."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        is_group = isinstance(value, dict) and not {"low", "high"} & value.keys()
        leaves |= _leaves(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
    return leaves


def _distribution(name: str, found: Any, source: str) -> Distribution:
    if isinstance(found, list) and found:
        try:
            choices = [_scalar(value) for value in found]
        except TypeError as error:  # a date, for instance
            raise InputError(f"space {source}: {name} is {found}; no setting has values of that kind") from error
        if len(set(choices)) < len(choices):
            raise InputError(f"space {source}: {name} lists a value twice, found {found}")
        return CategoricalDistribution(choices)
    if not isinstance(found, dict):
        raise InputError(f"space {source}: {name} is {found!r}; {EXPECTED}")
    try:
        return Range.model_validate(found).distribution()
    except ValidationError as error:
        wrong = error.errors()[-1]
        raise InputError(f"space {source}: {problem(wrong, (name, *wrong['loc'][:1]))}; {EXPECTED}") from None


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value)


def _contains(distribution: Distribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def _samples(distribution: Distribution) -> list[Any]:
    """All choices, or a range's ends and, for reals, a point between that no whole number can be."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    ends: list[Any] = [distribution.low, distribution.high]
    if isinstance(distribution, FloatDistribution):
        ends.append(distribution.low + (distribution.high - distribution.low) / 7.3)
    return ends


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
